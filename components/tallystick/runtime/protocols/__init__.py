"""Secure protocols, one file each, with its formula and its source."""
