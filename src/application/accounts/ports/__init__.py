"""Ports of accounts: accounts with their logins and tokens, second factors."""
