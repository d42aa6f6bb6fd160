"""Validation of web addresses that are shown as links and buttons. Standard library only."""

import ipaddress
import re
import unicodedata
from functools import lru_cache
from urllib.parse import urlsplit

from servicekit.text import has_invisible

MAX_LINK = 2_000

# RFC 3986 has none of these in an address, and browsers read a backslash as a slash.
_NOT_IN_AN_ADDRESS = re.compile(r'[\s\x00-\x20\x7f-\x9f\\<>"]')
_IDEOGRAPHIC_DOT = "\u3002"  # RFC 3490, 3.1; NFKC makes the others a full stop or this one
_LIKE_A_LINK = re.compile(r"//|\b(?:mailto|tel|sms|www)[:.]|\w\.[^\W\d_]{2}|\w\.xn--|\d\.\d+\.\d+\.\d", re.IGNORECASE)
_ASCII_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)


def is_web_address(text: str) -> bool:
    """Whether text is an absolute http or https address with a host and without user information, of at most 2,000
    characters, all of them visible and assigned in Unicode (RFC 3986; the host RFC 1123, with letters of any script as
    in IDNA)."""
    return len(text) <= MAX_LINK and _is_web_address(text)


@lru_cache(maxsize=256)  # a mail has the same link several times, and so has every mail about an event
def _is_web_address(text: str) -> bool:
    if not text.isprintable() or _NOT_IN_AN_ADDRESS.search(text) or has_invisible(text):
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or "@" in parts.netloc or port == 0:
        return False
    return _is_ipv6(parts.netloc) or _is_host(parts.hostname or "")


def usable_link(text: str | None) -> str | None:
    """A stored or received link if it is valid, else None."""
    return text if text is not None and is_web_address(text) else None


def mentions_link(text: str) -> bool:
    """Whether a mail program could show a part of this text as a link: an address with a scheme, a name with a domain
    such as `example.com` or `x@example.com`, or an IPv4 address. Also true for some texts without one (`St.Mary`)."""
    return _LIKE_A_LINK.search(unicodedata.normalize("NFKC", text).replace(_IDEOGRAPHIC_DOT, ".")) is not None


def _is_ipv6(netloc: str) -> bool:
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?", netloc)
    try:
        return found is not None and ipaddress.ip_address(found[1]).version == 6
    except ValueError:
        return False


def _is_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_is_label(label) for label in labels):
        return False
    if labels[-1].isdecimal():  # browsers parse it as an IPv4 address or reject it
        try:
            ipaddress.IPv4Address(".".join(labels))
        except ValueError:
            return False
    return True


def _is_label(label: str) -> bool:
    if label.isascii():
        return _ASCII_LABEL.fullmatch(label) is not None
    letters = all(char == "-" or unicodedata.category(char)[0] in "LMN" for char in label)
    return letters and len(label) <= 63 and "-" not in (label[0], label[-1])
