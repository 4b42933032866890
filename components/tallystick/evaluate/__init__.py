"""Secure evaluation: only agreed totals are opened."""
