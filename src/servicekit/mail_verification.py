"""Verification of a mail before it is sent: its octets are parsed as by a receiver and compared with the message."""

import re
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import HeaderParser
from email.policy import default
from functools import lru_cache
from typing import Any

from servicekit.mail_headers import UnsafeHeader

_BROKEN_LINE = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n")
_HEADERS = HeaderParser(policy=default)
_ADDRESS_HEADERS = frozenset({"from", "to", "reply-to"})
_COMPARED = frozenset({"subject", "message-id", "auto-submitted"}) | _ADDRESS_HEADERS


class UnsafeMail(Exception):
    """A receiver would read another mail than was written. It is not sent."""


@dataclass(frozen=True, slots=True)
class VerifiedMail:
    """The envelope and the octets of a mail. `smtputf8`: an address has letters beyond ASCII before the @."""

    sender: str
    recipients: list[str]
    octets: bytes

    @property
    def smtputf8(self) -> bool:
        return not all(address.isascii() for address in (self.sender, *self.recipients)) or not self.octets.isascii()


def verified(mail: EmailMessage) -> VerifiedMail:
    """The envelope and octets of a mail. Raises `UnsafeMail` if a line contains a bare CR or LF or NUL, if the parsed
    headers differ from those that were set, or if an address header is parsed as other mailboxes."""
    try:
        octets, intended = bytes(mail), mail.values()
    except UnsafeHeader as error:
        raise UnsafeMail(str(error)) from None
    if _BROKEN_LINE.search(octets):
        raise UnsafeMail("a line of the mail holds a bare CR or LF, or NUL")
    head = octets.partition(b"\r\n\r\n")[0]
    seen = list(_HEADERS.parsestr(f"{head.decode()}\r\n\r\n").raw_items())
    if [name for name, _ in seen] != mail.keys():
        raise UnsafeMail("the mail has other headers than were written")
    for (name, raw), meant in zip(seen, intended, strict=True):
        if name.lower() in _COMPARED and _read(name, raw) != _meaning(meant):
            raise UnsafeMail(f"{name} would be read as something else")
    recipients = [address.addr_spec for address in mail["To"].addresses]
    return VerifiedMail(mail["From"].addresses[0].addr_spec, recipients, octets)


@lru_cache(maxsize=512)
def _read(name: str, raw: str) -> tuple[str, ...]:
    return _meaning(default.header_fetch_parse(name, raw))


def _meaning(header: Any) -> tuple[str, ...]:
    """An address header's names and addresses, the text of any other."""
    addresses = getattr(header, "addresses", ())
    if not addresses:
        return (str(header),)
    return tuple(part for address in addresses for part in (address.display_name, address.addr_spec))
