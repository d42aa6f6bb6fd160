"""Accounts: registration, login, sessions, external identities, profiles, administration."""
