"""Secrets that sign deliveries (Standard Webhooks: `whsec_` and the base64 of the key)."""

import base64

PREFIX = "whsec_"
ADVICE = "give the base64 of a random key, with or without whsec_ before it; `openssl rand -base64 32` makes one"


def key_of(secret: str) -> bytes:
    """The key that a secret stands for. Raises ValueError for one that is not base64 or has no key: the libraries of
    Standard Webhooks decode every secret, so one that was used as it is would never verify."""
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    if not key:
        raise ValueError("no key")
    return key
