"""Benchmarks: this runtime beside what it replaces, in one run. Not part of the tests."""
