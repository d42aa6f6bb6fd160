"""A mail: its headers and its parts, and the octets that are sent."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from typing import NamedTuple

from servicekit.mail_bodies import encoded_file, encoded_text
from servicekit.mail_headers import Header, address_header, date_header, text_header

_AUTOMATIC = text_header("Auto-Submitted", "auto-generated")
_BOUNDARY_START = "=" * 15
_MIME_VERSION = "MIME-Version: 1.0\r\n"


@dataclass(frozen=True, slots=True)
class Calendar:
    """An iCalendar object with its METHOD. It is in the mail twice: as an alternative for mail programs with calendar
    support, and as an attachment for others."""

    text: str
    method: str
    file_name: str = "invite.ics"


class Mail:
    """A mail with plain text, HTML or both, and with a calendar if it has both. Raises `UnsafeHeader`.

    The same arguments result in the same octets. `headers` can be changed only by tests, which simulate a fault of
    their encoding.
    """

    __slots__ = (
        "calendar",
        "date",
        "headers",
        "html",
        "message_id",
        "recipients",
        "reply_to",
        "sender",
        "subject",
        "text",
    )

    def __init__(
        self,
        *,
        sender: Address,
        recipients: Sequence[Address],
        subject: str,
        date: datetime,
        message_id: str,
        reply_to: Address | None = None,
        is_automatic: bool = True,
        text: str | None = None,
        html: str | None = None,
        calendar: Calendar | None = None,
    ) -> None:
        self.headers: list[Header] = [address_header("From", (sender,)), address_header("To", recipients)]
        if reply_to is not None:
            self.headers.append(address_header("Reply-To", (reply_to,)))
        self.headers += [
            text_header("Subject", subject),
            date_header(date),
            text_header("Message-ID", message_id),
        ]
        if is_automatic:
            self.headers.append(_AUTOMATIC)
        self.sender, self.recipients, self.reply_to = sender, tuple(recipients), reply_to
        self.subject, self.date, self.message_id = subject, date, message_id
        self.text, self.html, self.calendar = text, html, calendar

    def octets(self) -> bytes:
        """7 bit, so that a server without 8BITMIME need not convert it. Only addresses that need SMTPUTF8 contain other
        characters than ASCII."""
        return f"{''.join(map(str, self.headers))}{self._content()}".encode()

    def _content(self) -> str:
        texts = ((self.text, "plain"), (self.html, "html"))
        parts = [_text_part(text, subtype) for text, subtype in texts if text is not None]
        if self.calendar is None and len(parts) == 1:
            return f"{parts[0].head}{_MIME_VERSION}\r\n{parts[0].body}"
        attachments = []
        if self.calendar is not None:
            parts.append(_calendar_part(self.calendar))
            attachments.append(_attachment(self.calendar))
        inner, outer = self._boundaries([part.body for part in (*parts, *attachments)])
        content = _Part(f'Content-Type: multipart/alternative;\r\n boundary="{inner}"\r\n', _multipart(parts, inner))
        if attachments:
            head = f'Content-Type: multipart/mixed; boundary="{outer}"\r\n'
            content = _Part(head, _multipart([content, *attachments], outer))
        return f"{_MIME_VERSION}{content.head}\r\n{content.body}"

    def _boundaries(self, bodies: Sequence[str]) -> tuple[str, str]:
        """Two lines that are in no body."""
        seed = hashlib.blake2b(self.message_id.encode(), digest_size=8).digest()
        number = int.from_bytes(seed)
        while True:
            inner, outer = _boundary(number), _boundary(number + 1)
            if not any(_BOUNDARY_START in body and (inner in body or outer in body) for body in bodies):
                return inner, outer
            number += 2


def _boundary(number: int) -> str:
    return f"{_BOUNDARY_START}{number % 10**19:019d}=="


class _Part(NamedTuple):
    head: str
    body: str


def _text_part(text: str, subtype: str) -> _Part:
    encoding, body = encoded_text(text)
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n'
    return _Part(head, body)


def _calendar_part(calendar: Calendar) -> _Part:
    encoding, body = encoded_text(calendar.text)
    kind = f'Content-Type: text/calendar; charset="utf-8"; method="{calendar.method}"\r\n'
    return _Part(f"Content-Transfer-Encoding: {encoding}\r\n{kind}", body)


def _attachment(calendar: Calendar) -> _Part:
    head = (
        "Content-Type: application/ics\r\nContent-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment; filename="{calendar.file_name}"\r\n'
    )
    return _Part(head, encoded_file(calendar.text.encode()))


def _multipart(parts: Sequence[_Part], boundary: str) -> str:
    """Each part but the first has the MIME version, as the standard library writes them."""
    written = [f"{part.head}{_MIME_VERSION if number else ''}\r\n{part.body}" for number, part in enumerate(parts)]
    return "".join(f"--{boundary}\r\n{part}\r\n" for part in written) + f"--{boundary}--\r\n"
