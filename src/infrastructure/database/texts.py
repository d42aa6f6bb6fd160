"""Texts from outside, made fit for PostgreSQL."""


def storable(text: str, longest: int) -> str:
    """Cut short; PostgreSQL keeps no NUL and no lone surrogate, and an answer may hold both."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:longest]
