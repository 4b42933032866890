"""Secure training: the parameters stay shared."""
