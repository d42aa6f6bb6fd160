"""Verification of a mail before it is sent: its header lines are read and compared with the values that were given.

The reader accepts only the forms that `servicekit.mail_headers` writes and reads them as every mail program does, which
tests compare with the parser of the standard library. Another form is an error of the writer.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from functools import lru_cache

from servicekit.mail_headers import Mailbox
from servicekit.mail_message import Mail

_ATOMS = r"[A-Za-z0-9_!#$%&'*+/=?^`{|}~-]+(?: [A-Za-z0-9_!#$%&'*+/=?^`{|}~-]+)*"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_WORD = r"=\?utf-8\?[bq]\?[!->@-~]*\?="
_ADDRESS = r"[^\s\x00-\x20\x7f<>()\[\]:;,\\\"@]+@[^\s\x00-\x20\x7f<>()\[\]:;,\\\"@]+"
_MAILBOX = re.compile(
    rf"(?:(?P<word>{_WORD})|(?P<quoted>{_QUOTED})|(?P<atoms>{_ATOMS})) <(?P<named>{_ADDRESS})>|(?P<bare>{_ADDRESS})"
)
_WORDS = re.compile(f"{_WORD}(?: {_WORD})*")
_PLAIN = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_CONTENT_HEADERS = (
    ["MIME-Version", "Content-Type"],
    ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"],
)


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


def verified(mail: Mail) -> VerifiedMail:
    """The envelope and octets of a mail. Raises `UnsafeMail` if a line contains a bare CR or LF or NUL, or if a header
    would be read as another text or as other mailboxes than were given."""
    octets = mail.octets()
    breaks = octets.count(b"\r\n")
    if octets.count(b"\r") != breaks or octets.count(b"\n") != breaks or b"\0" in octets:
        raise UnsafeMail("a line of the mail holds a bare CR or LF, or NUL")
    head = octets.partition(b"\r\n\r\n")[0].decode()
    # A line of spaces ends the headers for some programs.
    lines = [] if "\r\n \r\n" in head else head.replace("\r\n ", " ").split("\r\n")
    own = len(mail.headers)
    if [line.partition(":")[0] for line in lines[:own]] != [header.name for header in mail.headers]:
        raise UnsafeMail("the mail has other headers than were written")
    if [line.partition(":")[0] for line in lines[own:]] not in _CONTENT_HEADERS:
        raise UnsafeMail("the mail has other headers than were written")
    for header, line in zip(mail.headers, lines, strict=False):
        value = line.removeprefix(f"{header.name}: ")
        meaning = read_text(value) if isinstance(header.meaning, str) else read_mailboxes(value)
        if meaning != header.meaning:
            raise UnsafeMail(f"{header.name} would be read as something else")
    return VerifiedMail(mail.sender.addr_spec, [recipient.addr_spec for recipient in mail.recipients], octets)


def read_text(value: str) -> str | None:
    """The text in the unfolded value of a header. None if it is not in a form that is written."""
    if "=?" not in value:
        return value if _PLAIN.fullmatch(value) else None
    if not _WORDS.fullmatch(value):
        return None
    words = [_decoded(word) for word in value.split(" ")]
    return None if None in words else "".join(word for word in words if word)


@lru_cache(maxsize=512)
def read_mailboxes(value: str) -> tuple[Mailbox, ...] | None:
    """The names and addresses in the unfolded value of a header. None if it is not in a form that is written."""
    mailboxes, position = [], 0
    while found := _MAILBOX.match(value, position):
        name = _name(found)
        if name is None:
            return None
        mailboxes.append(Mailbox(name, found["named"] or found["bare"]))
        if found.end() == len(value):
            return tuple(mailboxes)
        if not value.startswith(", ", found.end()):
            return None
        position = found.end() + 2
    return None


def _name(found: re.Match[str]) -> str | None:
    if found["word"]:
        return _decoded(found["word"])
    quoted = found["quoted"]
    name = re.sub(r"\\(.)", r"\1", quoted[1:-1]) if quoted else found["atoms"] or ""
    return None if "=?" in name else name


def _decoded(word: str) -> str | None:
    """The text of an encoded word (RFC 2047), which contains whole characters."""
    scheme, payload = word[len("=?utf-8?")], word[len("=?utf-8?q?") : -2]
    try:
        if scheme == "b":
            return base64.b64decode(payload, validate=True).decode()
        return binascii.a2b_qp(payload, header=True).decode()
    except ValueError:
        return None
