"""Limits and peers: what other programs do with the same work on the same machine."""
