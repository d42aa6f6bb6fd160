"""Mail headers: every header of both services is encoded and folded here.

`email.policy` parses its input, so that a text in the form of an encoded word becomes raw headers or a second mailbox.
It also folds some texts directly after the header's name, which its parser reads as a leading space (Python 3.11.7),
and takes half of the time of composing a mail. This module does not parse text: plain ASCII is written unchanged, other
text in encoded words (RFC 2047).
"""

import base64
import re
from collections.abc import Iterable
from email.headerregistry import Address, HeaderRegistry
from email.policy import EmailPolicy, Policy
from functools import lru_cache
from itertools import chain
from typing import Any, Self

_LINE = 78
_ENCODED_LINE = 76
_FRAME = len("=?utf-8?q??=")
_LONGEST_NAME = 900
"""Octets of an encoded display name: an SMTP line has at most 998."""

_CONSTANT_HEADERS = frozenset({"content-type", "content-transfer-encoding", "content-disposition", "mime-version"})
_ADDRESS_HEADERS = frozenset({"from", "to", "reply-to"})
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?: [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
_ADDR_SPEC = re.compile(r"[^\s\x00-\x20\x7f<>()\[\]:;,\\\"@]+@[^\s\x00-\x20\x7f<>()\[\]:;,\\\"@]+")
_FORBIDDEN = re.compile("[\r\n\0\ud800-\udfff]")


class UnsafeHeader(ValueError):
    """A value contains CR, LF, NUL or a lone surrogate, or is not an address."""


class WrittenHeader(str):
    """A header in an `EmailMessage`: its decoded text, and its encoded lines."""

    name: str
    lines: list[str]
    addresses: tuple[Address, ...] = ()

    @classmethod
    def of(cls, name: str, text: str, lines: list[str], addresses: tuple[Address, ...] = ()) -> Self:
        header = cls(text)
        header.name, header.lines, header.addresses = name, lines, addresses
        return header

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {f'{policy.linesep} '.join(self.lines)}{policy.linesep}"


class HeaderWriter(HeaderRegistry):
    """The header factory of a mail policy. Addresses are given as `Address`, everything else as text.

    Raises `UnsafeHeader`. Headers that are the same in every mail are parsed once and cached.
    """

    def __init__(self) -> None:
        super().__init__()
        self._header_class = lru_cache(super().__getitem__)
        self._constant = lru_cache(super().__call__)

    def __getitem__(self, name: str) -> Any:
        return self._header_class(name.lower())

    def __call__(self, name: str, value: Any) -> Any:
        if name.lower() in _ADDRESS_HEADERS:
            return _address_header(name, (value,) if isinstance(value, Address) else tuple(value))
        text = _require_safe(name, str(value))
        if name.lower() in _CONSTANT_HEADERS:
            if not text.isascii() or "=?" in text:
                raise UnsafeHeader(f"{name} has other characters than a media type")
            return self._constant(name, text)
        return WrittenHeader.of(name, text, _text_lines(text, len(name) + 2))


class MailPolicy(EmailPolicy):
    """Passes every value to the header factory, also headers of another message, as text."""

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        return name, self.header_factory(name, value)


MAIL_POLICY = MailPolicy(linesep="\r\n", cte_type="7bit", utf8=True, header_factory=HeaderWriter())
"""The policy of every mail. 7 bit, so that a server without 8BITMIME need not convert it. Only addresses that need
SMTPUTF8 contain other characters than ASCII."""


def _address_header(name: str, addresses: tuple[Address, ...]) -> WrittenHeader:
    if not addresses or not all(isinstance(address, Address) for address in addresses):
        raise UnsafeHeader(f"{name} takes addresses, not text")
    written = tuple(_one_line(name, address) for address in addresses)
    mailboxes = [_mailbox(address) for address in written]
    for mailbox in mailboxes[:-1]:
        mailbox[-1] += ","
    shown = ", ".join(str(address) for address in written)
    return WrittenHeader.of(name, shown, _wrapped(chain.from_iterable(mailboxes), len(name) + 1), written)


def _one_line(header: str, address: Address) -> Address:
    """The address with a name on one line: white space becomes one space, as parsers read it. Raises `UnsafeHeader`."""
    if not _ADDR_SPEC.fullmatch(_require_safe(header, address.addr_spec)):
        raise UnsafeHeader(f"{header} has no usable address")
    name = " ".join(_require_safe(header, address.display_name).split())
    while (length := len(_encoded_word(name, _scheme(name)))) > _LONGEST_NAME:
        name = f"{name[: len(name) * _LONGEST_NAME // length - 2].rstrip()}…"
    return Address(name, address.username, address.domain)


def _mailbox(address: Address) -> list[str]:
    """The mailbox in pieces. A piece begins with the space at which a line may be folded."""
    if not address.display_name:
        return [f" {address.addr_spec}"]
    return [*(f" {word}" for word in _phrase(address.display_name)), f" <{address.addr_spec}>"]


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
