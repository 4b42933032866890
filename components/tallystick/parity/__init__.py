"""The same job in plaintext beside the secure run, on synthetic data: is the arithmetic right?"""
