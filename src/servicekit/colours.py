"""Colours in sRGB and their contrast (WCAG 2.2, relative luminance and contrast ratio)."""

import re

Colour = tuple[int, int, int]
"""Red, green and blue from 0 to 255."""

READABLE = 4.5
"""The least contrast of text (WCAG 2.2, 1.4.3)."""

_HEX = re.compile(r"#[0-9a-f]{6}", re.ASCII | re.IGNORECASE)


def colour(text: str) -> Colour:
    """From `#rrggbb`. Raises `ValueError`."""
    if not _HEX.fullmatch(text):
        raise ValueError("a colour is written #rrggbb")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def hexadecimal(of: Colour) -> str:
    return f"#{of[0]:02x}{of[1]:02x}{of[2]:02x}"


def contrast(first: Colour, second: Colour) -> float:
    """From 1 (the same) to 21 (black and white)."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def lightened(of: Colour, against: Colour) -> Colour:
    """The colour with as little white added as makes it readable on `against`, a dark background."""
    mixes = (_mixed(of, share / 20) for share in range(21))
    return next(mixed for mixed in mixes if contrast(mixed, against) >= READABLE)


def _mixed(of: Colour, white: float) -> Colour:
    red, green, blue = (round(part + (255 - part) * white) for part in of)
    return red, green, blue


def _luminance(of: Colour) -> float:
    red, green, blue = (_linear(part / 255) for part in of)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
