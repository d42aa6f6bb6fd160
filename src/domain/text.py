"""Validation of entered text: first the length, then the characters that are rejected everywhere (`servicekit.text`).

These rules apply to new and changed text. Stored text is never validated again.
"""

from domain.errors import Invalid
from servicekit.links import MAX_LINK, is_web_address
from servicekit.text import has_visible, problem


def line(field: str, text: str, *, at_most: int, at_least: int = 1) -> str:
    """One line of text, trimmed, so that it is valid in a mail header. `at_least` 1: it must have a visible
    character."""
    text = _of_length(field, text.strip(), at_most)
    if why := problem(text):
        raise Invalid({field: why})
    if at_least and not has_visible(text):
        raise Invalid({field: "Must not be empty"})
    return text


def optional_line(field: str, text: str | None, *, at_most: int) -> str | None:
    """As `line`; None for text without a visible character."""
    text = line(field, text, at_most=at_most, at_least=0) if text is not None else ""
    return text if has_visible(text) else None


def text_with_lines(field: str, text: str, *, at_most: int) -> str:
    """Text that may have line breaks and tabs."""
    if why := problem(_of_length(field, text, at_most), lines=True):
        raise Invalid({field: why})
    return text


def link(field: str, text: str | None) -> str | None:
    """An http or https address, trimmed; None for an empty one."""
    address = _of_length(field, text.strip(), MAX_LINK) if text is not None else ""
    if address and not is_web_address(address):
        raise Invalid({field: "Must be an http or https address with a host and without a user name"})
    return address or None


def _of_length(field: str, text: str, at_most: int) -> str:
    if len(text) > at_most:
        raise Invalid({field: f"Must be at most {at_most} characters"})
    return text
