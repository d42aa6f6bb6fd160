"""What people may write: length limits and the characters that are refused everywhere."""

import unicodedata

from domain.errors import Invalid


def line(field: str, text: str, *, at_most: int, at_least: int = 1) -> str:
    """One line of text, trimmed; refuses control characters, so that it can stand in a mail header."""
    text = text.strip()
    if any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in text):
        raise Invalid({field: "Must be one line without control characters"})
    return _measured(field, text, at_least, at_most)


def prose(field: str, text: str, *, at_most: int) -> str:
    """Text that may have line breaks and tabs; other control characters are refused."""
    if any(unicodedata.category(char) == "Cc" and char not in "\n\r\t" for char in text):
        raise Invalid({field: "Must not contain control characters"})
    return _measured(field, text, 0, at_most)


def _measured(field: str, text: str, at_least: int, at_most: int) -> str:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise Invalid({field: "Is not valid Unicode"})
    if len(text) < at_least:
        raise Invalid({field: "Must not be empty"})
    if len(text) > at_most:
        raise Invalid({field: f"Must be at most {at_most} characters"})
    return text
