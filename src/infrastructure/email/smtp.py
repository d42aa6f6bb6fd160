"""SMTP transport; one connection for each mail, so that a failure does not affect the next mail."""

import asyncio
from email.message import EmailMessage
from urllib.parse import parse_qsl, unquote, urlsplit

import aiosmtplib

from domain.outbox import Delivered, Failed, Outcome
from infrastructure.settings import SettingsError
from servicekit.mail_verification import UnsafeMail, VerifiedMail, verified

_SERVICE_NOT_AVAILABLE = 421
"""The server closes the connection (RFC 5321, 3.8)."""
_STARTTLS = {"auto": None, "1": True, "true": True, "0": False, "false": False}


class SmtpTransport:
    """`smtp://user:password@host:port` or `smtps://` (TLS from the first byte).

    `?starttls=1` insists on STARTTLS, `?starttls=0` goes without, else it is used where the server offers it. Ports
    default to 465 for smtps, 587 with `starttls=1`, else 25. Raises `SettingsError` for an address it cannot use.
    `seconds` bounds the whole conversation about one mail.
    """

    def __init__(self, url: str, *, seconds: float = 15) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        asked = query.pop("starttls", "auto").lower()
        if query or asked not in _STARTTLS or parts.path.strip("/"):
            raise SettingsError("SMTP_URL: after the host and port only ?starttls=1 or ?starttls=0 is understood")
        self._tls = parts.scheme == "smtps"
        if self._tls and _STARTTLS[asked]:
            raise SettingsError("SMTP_URL: smtps:// is encrypted from the start, leave ?starttls=1 out")
        self._starttls = False if self._tls else _STARTTLS[asked]
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (465 if self._tls else 587 if self._starttls else 25)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._seconds = seconds

    async def send(self, mail: EmailMessage) -> Outcome:
        answer: str | None = None
        try:
            ready = verified(mail)
        except UnsafeMail as error:
            return Failed(str(error), permanent=True)
        try:
            async with asyncio.timeout(self._seconds), self._server() as server:
                _, answer = await _handed_over(server, ready)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            # After the server has accepted the mail, a failing QUIT must not send it again.
            if answer is None:
                return _failed(error, f"{self._host}:{self._port}", self._seconds)
        return Delivered(answer or "")

    async def check_login(self) -> Outcome:
        """Connects and logs in without sending a mail."""
        try:
            async with asyncio.timeout(self._seconds), self._server():
                return Delivered()
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return _failed(error, f"{self._host}:{self._port}", self._seconds)

    def _server(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            use_tls=self._tls,
            start_tls=self._starttls,
            timeout=self._seconds,
        )


async def _handed_over(server: aiosmtplib.SMTP, mail: VerifiedMail) -> tuple[object, str]:
    if mail.smtputf8 and not server.supports_extension("smtputf8"):
        raise aiosmtplib.SMTPNotSupported("the server does not offer SMTPUTF8, which the address needs")
    options = ["SMTPUTF8"] if mail.smtputf8 else []
    return await server.sendmail(mail.sender, mail.recipients, mail.octets, mail_options=options)


def _failed(error: Exception, server: str, seconds: float) -> Failed:
    """A 5xx about the recipient or the mail is permanent. A 5xx about the greeting, the login or the sender is a
    configuration error; all failures that do not concern the mail count for the destination."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        refusal: aiosmtplib.SMTPResponseException = error.recipients[0]
        return Failed(
            f"{refusal.code} {refusal.message}",
            permanent=refusal.code >= 500,
            status_code=refusal.code,
            destination_fault=refusal.code == _SERVICE_NOT_AVAILABLE,
        )
    if isinstance(error, aiosmtplib.SMTPResponseException):
        about_message = isinstance(error, aiosmtplib.SMTPDataError)
        return Failed(
            f"{error.code} {error.message}",
            permanent=about_message and error.code >= 500,
            status_code=error.code,
            destination_fault=not about_message or error.code == _SERVICE_NOT_AVAILABLE,
        )
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        about_mail = "SMTPUTF8" in str(error)
        return Failed(f"{server}: {error}", permanent=about_mail, destination_fault=not about_mail)
    if isinstance(error, TimeoutError):
        return Failed(f"{server}: no answer within {seconds:g} s", destination_fault=True)
    return Failed(f"{server}: {error or type(error).__name__}", destination_fault=True)
