"""Mail transports: an SMTP server, or `.eml` files for development without one."""

import asyncio
import os
import re
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Protocol, runtime_checkable

import aiosmtplib

from servicekit.mail_message import Mail
from servicekit.mail_verification import UnsafeMail, VerifiedMail, verified
from servicekit.smtp_server import SmtpServer
from servicekit.smtp_session import (
    SERVICE_NOT_AVAILABLE,
    NeedsSmtpUtf8,
    Rejected,
    Reply,
    SessionLost,
    SmtpSession,
    Stage,
    connection_to,
)

_ERRORS = (aiosmtplib.SMTPException, Rejected, NeedsSmtpUtf8, OSError, TimeoutError, ValueError)
_OF_THE_SESSION = frozenset({Stage.SESSION, Stage.SENDER})
"""Stages whose rejection in a kept session may concern the session: a server may limit its mails."""
MARK_LENGTH = 12
"""Characters at the end of a Message-ID's first part that the name of the mail's file has."""
_MARKED = re.compile(rf"-([^-]{{{MARK_LENGTH}}})\.eml(?:\.\d+)?$")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


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

    async def close(self) -> None:
        """Ends what is kept for the next mail."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long and how many connections are kept between mails. Seconds: unused, and until a kept connection must have
    accepted the recipients, after which a new one is opened."""

    idle_seconds: float = 20
    begin_seconds: float = 5
    connections: int = 8
    mails: int = 100
    """In one session; servers end those with many mails."""


class SmtpTransport:
    """Sends each mail in a session that is kept for the next one. A session that has failed is not used again.

    A kept session that the server has ended, or that it ends or leaves unanswered before the content is sent, is
    replaced by a new one for the same mail. Once the content has been sent, a missing reply is a failure of this mail,
    since the server may have it (RFC 5321, 4.5.3.2.6). `seconds` bounds the whole conversation about one mail.
    """

    def __init__(self, server: SmtpServer, *, seconds: float = 15, keeping: Keeping = Keeping()) -> None:
        self._server = server
        self._seconds = seconds
        self._keeping = keeping
        self._idle: dict[SmtpSession, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def send(self, mail: Mail) -> str:
        ready = _verified(mail)
        try:
            async with asyncio.timeout(self._seconds):
                session = await self._begun(ready)
                reply = await self._finish(session, ready.octets)
        except _ERRORS as error:
            raise self._not_sent(error) from error
        return reply.text

    async def check_login(self) -> None:
        """Connects and logs in without sending a mail. Raises `MailNotSent`."""
        try:
            async with asyncio.timeout(self._seconds), connection_to(self._server, seconds=self._seconds):
                pass
        except _ERRORS as error:
            raise self._not_sent(error) from error

    async def close(self) -> None:
        """Ends the kept sessions."""
        for session in [*self._idle]:
            self._end(session)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _begun(self, mail: VerifiedMail) -> SmtpSession:
        """A session in which the server waits for the content of the mail."""
        if session := self._take():
            with suppress(TimeoutError, SessionLost):
                async with asyncio.timeout(self._keeping.begin_seconds):
                    if await self._begin(session, mail, is_kept=True):
                        return session
        session = await SmtpSession.open(self._server, seconds=self._seconds)
        await self._begin(session, mail, is_kept=False)
        return session

    async def _begin(self, session: SmtpSession, mail: VerifiedMail, *, is_kept: bool) -> bool:
        """False if a kept session cannot be used for another mail."""
        try:
            with _aborted_by_failure(session):
                await session.begin(mail)
        except (Rejected, NeedsSmtpUtf8) as error:
            if is_kept and _may_concern_session(error):
                session.abort()
                return False
            self._keep(session)
            raise
        return True

    async def _finish(self, session: SmtpSession, octets: bytes) -> Reply:
        try:
            with _aborted_by_failure(session):
                reply = await session.finish(octets)
        except Rejected:
            self._keep(session)
            raise
        self._keep(session)
        return reply

    def _take(self) -> SmtpSession | None:
        """The session that was used last."""
        while self._idle:
            session, timer = self._idle.popitem()
            timer.cancel()
            if session.is_open:
                return session
        return None

    def _keep(self, session: SmtpSession) -> None:
        self._idle[session] = asyncio.get_running_loop().call_later(self._keeping.idle_seconds, self._end, session)
        if session.mails >= self._keeping.mails or len(self._idle) > self._keeping.connections:
            self._end(session)

    def _end(self, session: SmtpSession) -> None:
        if timer := self._idle.pop(session, None):
            timer.cancel()
        ending = asyncio.create_task(session.quit())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _not_sent(self, error: Exception) -> MailNotSent:
        """A 5xx about the recipient or the mail is permanent. A 5xx about the greeting, the login or the sender is a
        configuration error."""
        server = f"{self._server.host}:{self._server.port}"
        match error:
            case Rejected(stage=Stage.RECIPIENTS | Stage.CONTENT, reply=reply):
                return _refused(reply)
            case Rejected(reply=reply):
                return MailNotSent(str(reply), destination_fault=True, status_code=reply.code)
            case aiosmtplib.SMTPResponseException():
                failure = LoginRefused if isinstance(error, aiosmtplib.SMTPAuthenticationError) else MailNotSent
                reason = f"{error.code} {error.message}"
                return failure(reason, destination_fault=True, status_code=error.code)
            case NeedsSmtpUtf8():
                return MailNotSent(f"{server}: {error}", permanent=True)
            case TimeoutError():
                return MailNotSent(f"{server}: no answer within {self._seconds:g} s", destination_fault=True)
            case _:
                return MailNotSent(f"{server}: {error or type(error).__name__}", destination_fault=True)


def _may_concern_session(error: Rejected | NeedsSmtpUtf8) -> bool:
    """Whether a new session may have another result."""
    if isinstance(error, NeedsSmtpUtf8):
        return True
    return error.stage in _OF_THE_SESSION or error.reply.code == SERVICE_NOT_AVAILABLE


@contextmanager
def _aborted_by_failure(session: SmtpSession) -> Iterator[None]:
    """Aborts a session in an unknown state, also after a timeout."""
    try:
        yield
    except (Rejected, NeedsSmtpUtf8):
        raise
    except BaseException:
        session.abort()
        raise


def _refused(reply: Reply) -> MailNotSent:
    return MailNotSent(
        str(reply),
        permanent=reply.code >= 500,
        status_code=reply.code,
        destination_fault=reply.code == SERVICE_NOT_AVAILABLE,
    )


class FileTransport:
    """Writes each mail atomically and durably as one file in `directory`; the same mail replaces its file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, mail: Mail) -> str:
        name, octets = file_name(mail), _verified(mail).octets
        try:
            await asyncio.to_thread(self._write, name, octets)
        except OSError as error:
            raise MailNotSent(f"{self._directory}: {error.strerror or error}", destination_fault=True) from error
        return name

    async def close(self) -> None:
        """Has nothing to close."""

    def _write(self, name: str, octets: bytes) -> None:
        partial = self._directory / f".{name[-40:]}.{os.getpid()}"
        try:
            file = os.open(partial, _CREATE, 0o600)
        except FileNotFoundError:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(partial, _CREATE, 0o600)
        try:
            with os.fdopen(file, "wb", buffering=0) as written:
                written.write(octets)
                os.fsync(file)
            partial.replace(self._directory / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def mail_transport(server: SmtpServer | None, data: Path) -> MailTransport:
    """SMTP where there is a server, files where there is none."""
    return SmtpTransport(server) if server else FileTransport(mail_directory(data))


def mail_directory(data: Path) -> Path:
    """Of the mail files."""
    return data / "mail"


def file_name(mail: Mail) -> str:
    """Time, recipient, subject and the end of the Message-ID: `20261121T100000Z-ana@example.com-….eml`."""
    recipient, subject = _slug(mail.recipients[0].addr_spec, 64, keep="@._+"), _slug(mail.subject, 60)
    mark = mail.message_id.strip("<>").partition("@")[0][-MARK_LENGTH:]
    return f"{mail.date.astimezone(UTC):%Y%m%dT%H%M%SZ}-{recipient}-{subject}-{mark}.eml"


def delete_mail_files(directory: Path, marks: Collection[str]) -> int:
    """Deletes the files of the mails whose Message-IDs end with these marks before the @, partial ones of processes
    that ended included. Returns their number."""
    if not marks or not directory.is_dir():
        return 0
    found = [path for path in directory.iterdir() if (file := _MARKED.search(path.name)) and file[1] in marks]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _slug(text: str, length: int, keep: str = "") -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(rf"[^a-z0-9{re.escape(keep)}]+", "-", plain).strip("-.")[:length].rstrip("-.") or "mail"


def _verified(mail: Mail) -> VerifiedMail:
    try:
        return verified(mail)
    except UnsafeMail as error:
        raise UnsendableMail(str(error), permanent=True) from None
