"""Erasure of accounts: requests, and their execution over all contexts."""
