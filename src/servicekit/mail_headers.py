"""Mail headers: every header of both services is encoded and folded here.

`email.policy` parses its input, so that a text in the form of an encoded word becomes raw headers or a second mailbox.
It also folds some texts directly after the header's name, which its parser reads as a leading space (Python 3.11.7).
This module does not parse text: plain ASCII is written unchanged, other text in encoded words (RFC 2047).
"""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

_LINE = 78
_ENCODED_LINE = 76
_FRAME = len("=?utf-8?q??=")
_FOLD = "\r\n "
_LONGEST_NAME = 900
"""Octets of an encoded display name: an SMTP line has at most 998."""
_SURELY_SHORT = (_LONGEST_NAME - _FRAME) // 12
"""Characters: one takes at most 12 octets in an encoded word."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?: [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
_ADDR_SPEC = re.compile(r"[^\s\x00-\x20\x7f<>()\[\]:;,\\\"@]+@[^\s\x00-\x20\x7f<>()\[\]:;,\\\"@]+")
_FORBIDDEN = re.compile("[\r\n\0\ud800-\udfff]")


class UnsafeHeader(ValueError):
    """A value contains CR, LF, NUL or a lone surrogate, or is not an address."""


class Mailbox(NamedTuple):
    """A name, which may be empty, and an address."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Header:
    """A header in encoded lines. `meaning`: the text or the mailboxes that a receiver has to read in it."""

    name: str
    meaning: str | tuple[Mailbox, ...]
    lines: Sequence[str]

    def __str__(self) -> str:
        """As it is sent, with its line end."""
        return f"{self.name}: {_FOLD.join(self.lines)}\r\n"


def text_header(name: str, text: str) -> Header:
    """Raises `UnsafeHeader`."""
    return Header(name, text, _text_lines(_require_safe(name, text), len(name) + 2))


def date_header(moment: datetime) -> Header:
    """RFC 5322, 3.3, in UTC."""
    utc = moment.astimezone(UTC)
    date = f"{_DAYS[utc.weekday()]}, {utc.day:02} {_MONTHS[utc.month - 1]} {utc.year:04}"
    text = f"{date} {utc.isoformat()[11:19]} +0000"
    return Header("Date", text, (text,))


def address_header(name: str, addresses: Iterable[Address]) -> Header:
    """Raises `UnsafeHeader`."""
    return _mailbox_header(name, tuple(Mailbox(address.display_name, address.addr_spec) for address in addresses))


@lru_cache(maxsize=512)
def _mailbox_header(name: str, mailboxes: tuple[Mailbox, ...]) -> Header:
    if not mailboxes:
        raise UnsafeHeader(f"{name} has no address")
    mailboxes = tuple(_one_line(name, mailbox) for mailbox in mailboxes)
    pieces = [_pieces(mailbox) for mailbox in mailboxes]
    for mailbox in pieces[:-1]:
        mailbox[-1] += ","
    return Header(name, mailboxes, _wrapped(chain.from_iterable(pieces), len(name) + 1))


def _one_line(header: str, mailbox: Mailbox) -> Mailbox:
    """The mailbox with a name on one line: white space becomes one space, as parsers read it. Raises `UnsafeHeader`."""
    if not _ADDR_SPEC.fullmatch(_require_safe(header, mailbox.address)):
        raise UnsafeHeader(f"{header} has no usable address")
    name = " ".join(_require_safe(header, mailbox.name).split())
    if len(name) > _SURELY_SHORT:
        while (length := len(_encoded_word(name, _scheme(name)))) > _LONGEST_NAME:
            name = f"{name[: len(name) * _LONGEST_NAME // length - 2].rstrip()}…"
    return Mailbox(name, mailbox.address)


def _pieces(mailbox: Mailbox) -> list[str]:
    """The mailbox in pieces. A piece begins with the space at which a line may be folded."""
    if not mailbox.name:
        return [f" {mailbox.address}"]
    return [*(f" {word}" for word in _phrase(mailbox.name)), f" <{mailbox.address}>"]


def _phrase(name: str) -> list[str]:
    """A display name in words.

    Other names than ASCII are one encoded word of any length: Python 3.11 to 3.13.1 read the space between two encoded
    words of a name as a part of the name, later versions do not.
    """
    words = [""]
    if "=?" not in name and _ATOMS.fullmatch(name):
        words = name.split()
    elif "=?" not in name and _PLAIN.fullmatch(name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        words = f'"{escaped}"'.split(" ")
    if any(not word or len(word) >= _LINE - len("Reply-To: ") for word in words):
        return [_encoded_word(name, _scheme(name))]
    return words


def _text_lines(text: str, indent: int) -> list[str]:
    if not text:
        return [""]
    if "=?" not in text and _PLAIN.fullmatch(text):
        if len(text) <= _LINE - indent:
            return [text]
        pieces = re.findall(" *[^ ]+", text)
        if len(pieces[0]) <= _LINE - indent and all(len(piece) <= _LINE for piece in pieces):
            pieces[0] = f" {pieces[0]}"
            return _wrapped(pieces, indent - 1)
    return list(_encoded_words(text, indent))


def _wrapped(pieces: Iterable[str], indent: int) -> list[str]:
    """The pieces on lines of at most 78 characters if possible; the first piece is on the first line. The space at the
    start of a line is omitted."""
    lines: list[str] = []
    room = 0
    for piece in pieces:
        if lines and len(piece) <= room:
            lines[-1] += piece
        else:
            lines.append(piece[1:])
            room = _LINE - (0 if len(lines) > 1 else indent)
        room -= len(piece)
    return lines


def _encoded_words(text: str, indent: int) -> Iterable[str]:
    """Encoded words of whole characters, each of at most 75 octets (RFC 2047, 2 and 5)."""
    scheme, room = _scheme(text), _ENCODED_LINE - indent - _FRAME
    chunk, size = "", 0
    for char in text:
        more = len(char.encode()) if scheme == "b" else len(_quoted(char))
        if chunk and (-(-(size + more) // 3) * 4 if scheme == "b" else size + more) > room:
            yield _encoded_word(chunk, scheme)
            chunk, size, room = "", 0, _ENCODED_LINE - 1 - _FRAME
        chunk += char
        size += more
    yield _encoded_word(chunk, scheme)


def _scheme(text: str) -> str:
    """The shorter of base64 and quoted-printable."""
    return "b" if len(text.encode()) * 4 < len(_quoted(text)) * 3 else "q"


def _encoded_word(text: str, scheme: str) -> str:
    return f"=?utf-8?{scheme}?{base64.b64encode(text.encode()).decode() if scheme == 'b' else _quoted(text)}?="


def _quoted(text: str) -> str:
    """The text in quoted-printable, with only the characters that an encoded word may have in a phrase (RFC 2047,
    5)."""
    return "".join(_QUOTED[octet] for octet in text.encode())


_QUOTED = [chr(octet) if re.match(r"[A-Za-z0-9!*+/-]", chr(octet)) else f"={octet:02X}" for octet in range(256)]
_QUOTED[ord(" ")] = "_"


def _require_safe(name: str, text: str) -> str:
    if _FORBIDDEN.search(text):
        raise UnsafeHeader(f"{name} holds a line break, NUL or a lone surrogate")
    return text
