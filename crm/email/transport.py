"""Who carries a mail away: an SMTP server, or the file system where there is none."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import unicodedata
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

import aiosmtplib

from crm.delivery.failures import Deferred, DeliveryError, DestinationUnavailable, Refused, Unsendable
from crm.settings import SmtpServer
from servicekit.mail_verification import UnsafeMail, VerifiedMail, verified

COMMAND_SECONDS = 10.0
SLUG_LENGTH = 60


class LoginRefused(Exception):
    """The mail server answered, and does not let us in."""


@runtime_checkable
class MailTransport(Protocol):
    async def send(self, message: EmailMessage) -> None:
        """Hand over one mail; raises DeliveryError when it was not taken."""


class SmtpTransport:
    """Hands each mail to an SMTP server on a connection of its own."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    async def send(self, message: EmailMessage) -> None:
        server, ready = self._server, _verified(message)
        try:
            async with self._connected() as connection:
                await _send(connection, ready)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _error_response(max(refused.code for refused in error.recipients), str(error)) from error
        except aiosmtplib.SMTPDataError as error:
            raise _error_response(error.code, error.message) from error
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            raise Refused(str(error)) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise DestinationUnavailable(f"{server.host}:{server.port}: {error}") from error

    async def log_in(self) -> None:
        """Only that: connect, log in and leave. Raises LoginRefused or DestinationUnavailable."""
        server = self._server
        try:
            async with self._connected():
                pass
        except aiosmtplib.SMTPAuthenticationError as error:
            raise LoginRefused(f"{error.code} {error.message}") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise DestinationUnavailable(f"{server.host}:{server.port}: {error}") from error

    def _connected(self) -> aiosmtplib.SMTP:
        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.tls,
            start_tls=server.starttls,
            timeout=COMMAND_SECONDS,
            local_hostname=socket.gethostname(),
        )


class FileTransport:
    """Writes each mail as one `.eml` file; the same mail again replaces its file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, message: EmailMessage) -> None:
        try:
            await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise DestinationUnavailable(f"{self._directory}: {error.strerror or error}") from error

    def _write(self, message: EmailMessage) -> None:
        octets = _verified(message).octets
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / file_name(message)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _verified(message: EmailMessage) -> VerifiedMail:
    try:
        return verified(message)
    except UnsafeMail as error:
        raise Unsendable(str(error)) from None


async def _send(connection: aiosmtplib.SMTP, mail: VerifiedMail) -> None:
    if mail.smtputf8 and not connection.supports_extension("smtputf8"):
        raise Refused("The mail server does not offer SMTPUTF8, which the address needs")
    options = ["SMTPUTF8"] if mail.smtputf8 else []
    await connection.sendmail(mail.sender, mail.recipients, mail.octets, mail_options=options)


def transport_for(smtp: SmtpServer | None, data: Path) -> MailTransport:
    """SMTP where there is a server, files below `data`/mail where there is none."""
    return SmtpTransport(smtp) if smtp else FileTransport(data / "mail")


def file_name(message: EmailMessage) -> str:
    """When, to whom, about what, and the end of the Message-ID: sorts by time and names the same mail the same."""
    moment = parsedate_to_datetime(message["Date"])
    unique = message["Message-ID"].strip("<>").partition("@")[0][-12:]
    recipient = _slug(message["To"].addresses[0].addr_spec, keep="@.")
    return f"{moment:%Y%m%dT%H%M%SZ}-{recipient}-{_slug(message['Subject'])}-{unique}.eml"


def _slug(text: str, keep: str = "") -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(rf"[^a-z0-9{re.escape(keep)}]+", "-", plain).strip("-.")[:SLUG_LENGTH].rstrip("-.") or "mail"


def _error_response(code: int, text: str) -> DeliveryError:
    return Refused(f"{code} {text}") if code >= 500 else Deferred(f"{code} {text}")
