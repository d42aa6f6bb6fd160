"""Erasure of accounts: requests, and what the statements of all packages need."""
