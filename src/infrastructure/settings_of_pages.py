"""Settings of the web pages: the organisation whose name, logo and colour they show."""

from pathlib import Path

from servicekit.colours import READABLE, colour, contrast
from servicekit.settings_reader import SettingsError, SettingsReader

LIGHTEST_USE = "#f4f3ef"
"""The background of the pages in the light theme, on which links have the organisation's colour."""

LARGEST_LOGO = 200_000
"""Bytes."""
LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}
"""By the ending of the file's name."""


def organisation_name(read: SettingsReader) -> str:
    name = read.text("ORGANISATION_NAME", "Convene")
    if len(name) > 60 or not name.isprintable():
        raise SettingsError("ORGANISATION_NAME is too long or has control characters: give at most 60 characters")
    return name


def organisation_colour(read: SettingsReader) -> str:
    """`#rrggbb`, dark enough for white text on it and for links on a light background."""
    text = read.text("ORGANISATION_COLOUR", "#2f6f5e").lower()
    try:
        given = colour(text)
    except ValueError:
        raise SettingsError(f"ORGANISATION_COLOUR is {text!r}: give a colour like #2f6f5e") from None
    found = contrast(given, colour(LIGHTEST_USE))
    if found < READABLE:
        raise SettingsError(
            f"ORGANISATION_COLOUR is {text}, whose contrast with a light background is {found:.1f}: "
            f"give a darker colour, with at least {READABLE}"
        )
    return text


def organisation_logo(read: SettingsReader) -> Path | None:
    """A file that exists and is small enough to be sent with each first visit."""
    text = read.text("ORGANISATION_LOGO", "")
    if not text:
        return None
    path = Path(text).absolute()
    if path.suffix.lower() not in LOGO_TYPES:
        raise SettingsError(f"ORGANISATION_LOGO is {text}: give a file that ends with {' or '.join(LOGO_TYPES)}")
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError:
        size = 0
    if not 0 < size <= LARGEST_LOGO:
        raise SettingsError(f"ORGANISATION_LOGO is {text}: give a file of 1 to {LARGEST_LOGO} bytes that can be read")
    return path
