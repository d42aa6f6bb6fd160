"""Passwords, tokens, OAuth clients, encryption of stored tokens."""
