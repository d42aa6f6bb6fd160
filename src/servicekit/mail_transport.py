"""Mail transports: an SMTP server, or `.eml` files for development without one."""

import asyncio
import os
import re
import socket
import unicodedata
from datetime import UTC
from pathlib import Path
from typing import Protocol, runtime_checkable

import aiosmtplib

from servicekit.mail_message import Mail
from servicekit.mail_verification import UnsafeMail, VerifiedMail, verified
from servicekit.smtp_server import SmtpServer

_SERVICE_NOT_AVAILABLE = 421
"""The server closes the connection (RFC 5321, 3.8)."""
_ERRORS = (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError)


class MailNotSent(Exception):
    """A mail was not accepted. The message says why.

    `permanent`: it never will be. `destination_fault`: the failure concerns the server, its settings or the login, so
    that other mails fail as well. `status_code`: the SMTP reply code, if there was one.
    """

    def __init__(
        self, reason: str, *, permanent: bool = False, destination_fault: bool = False, status_code: int | None = None
    ) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.destination_fault = destination_fault
        self.status_code = status_code


class UnsendableMail(MailNotSent):
    """The mail would be read as another one, so it was not sent. Always permanent."""


class LoginRefused(MailNotSent):
    """The server refused the user or the password."""


@runtime_checkable
class MailTransport(Protocol):
    async def send(self, mail: Mail) -> str:
        """Returns the reply of the server, or the name of the file. Raises `MailNotSent`."""


class SmtpTransport:
    """One connection for each mail, so that a failure does not affect the next mail.

    `seconds` bounds the whole conversation about one mail.
    """

    def __init__(self, server: SmtpServer, *, seconds: float = 15) -> None:
        self._server = server
        self._seconds = seconds

    async def send(self, mail: Mail) -> str:
        ready, reply = _verified(mail), None
        try:
            async with asyncio.timeout(self._seconds), self._connection() as connection:
                reply = await _transmit(connection, ready)
        except _ERRORS as error:
            # After the server has accepted the mail, a failing QUIT must not send it again.
            if reply is None:
                raise self._not_sent(error) from error
        return reply or ""

    async def check_login(self) -> None:
        """Connects and logs in without sending a mail. Raises `MailNotSent`."""
        try:
            async with asyncio.timeout(self._seconds), self._connection():
                pass
        except _ERRORS as error:
            raise self._not_sent(error) from error

    def _connection(self) -> aiosmtplib.SMTP:
        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.tls,
            start_tls=server.starttls,
            timeout=self._seconds,
            local_hostname=socket.gethostname(),  # the default is a DNS query for each mail
        )

    def _not_sent(self, error: Exception) -> MailNotSent:
        """A 5xx about the recipient or the mail is permanent. A 5xx about the greeting, the login or the sender is a
        configuration error."""
        server = f"{self._server.host}:{self._server.port}"
        match error:
            case aiosmtplib.SMTPRecipientsRefused():
                return _refused(error.recipients[0])
            case aiosmtplib.SMTPDataError():
                return _refused(error)
            case aiosmtplib.SMTPResponseException():
                failure = LoginRefused if isinstance(error, aiosmtplib.SMTPAuthenticationError) else MailNotSent
                reason = f"{error.code} {error.message}"
                return failure(reason, destination_fault=True, status_code=error.code)
            case _NeedsSmtpUtf8():
                return MailNotSent(f"{server}: {error}", permanent=True)
            case TimeoutError():
                return MailNotSent(f"{server}: no answer within {self._seconds:g} s", destination_fault=True)
            case _:
                return MailNotSent(f"{server}: {error or type(error).__name__}", destination_fault=True)


class _NeedsSmtpUtf8(aiosmtplib.SMTPNotSupported):
    pass


async def _transmit(connection: aiosmtplib.SMTP, mail: VerifiedMail) -> str:
    if mail.smtputf8 and not connection.supports_extension("smtputf8"):
        raise _NeedsSmtpUtf8("the server does not offer SMTPUTF8, which the address needs")
    options = ["SMTPUTF8"] if mail.smtputf8 else []
    _, reply = await connection.sendmail(mail.sender, mail.recipients, mail.octets, mail_options=options)
    return reply


def _refused(reply: aiosmtplib.SMTPResponseException) -> MailNotSent:
    return MailNotSent(
        f"{reply.code} {reply.message}",
        permanent=reply.code >= 500,
        status_code=reply.code,
        destination_fault=reply.code == _SERVICE_NOT_AVAILABLE,
    )


class FileTransport:
    """Writes each mail atomically as one file in `directory`; the same mail replaces its file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, mail: Mail) -> str:
        try:
            return await asyncio.to_thread(self._write, mail)
        except OSError as error:
            raise MailNotSent(f"{self._directory}: {error.strerror or error}", destination_fault=True) from error

    def _write(self, mail: Mail) -> str:
        octets = _verified(mail).octets
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / file_name(mail)
        partial = path.with_name(f".{path.name[-40:]}.{os.getpid()}")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path.name


def mail_transport(server: SmtpServer | None, data: Path) -> MailTransport:
    """SMTP where there is a server, files where there is none."""
    return SmtpTransport(server) if server else FileTransport(mail_directory(data))


def mail_directory(data: Path) -> Path:
    """Of the mail files."""
    return data / "mail"


def file_name(mail: Mail) -> str:
    """Time, recipient, subject and the end of the Message-ID: `20261121T100000Z-ana@example.com-….eml`."""
    recipient, subject = _slug(mail.recipients[0].addr_spec, 64, keep="@._+"), _slug(mail.subject, 60)
    mark = mail.message_id.strip("<>").partition("@")[0][-12:]
    return f"{mail.date.astimezone(UTC):%Y%m%dT%H%M%SZ}-{recipient}-{subject}-{mark}.eml"


def _slug(text: str, length: int, keep: str = "") -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(rf"[^a-z0-9{re.escape(keep)}]+", "-", plain).strip("-.")[:length].rstrip("-.") or "mail"


def _verified(mail: Mail) -> VerifiedMail:
    try:
        return verified(mail)
    except UnsafeMail as error:
        raise UnsendableMail(str(error), permanent=True) from None
