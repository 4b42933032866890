"""The third organisation's service for correlated randomness: sees no data."""
