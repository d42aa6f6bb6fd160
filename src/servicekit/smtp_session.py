"""A session with an SMTP server in which several mails are sent, pipelined where the server offers it (RFC 2920).

`aiosmtplib` opens it, with TLS and the login.
"""

import asyncio
import re
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from typing import NamedTuple, cast

import aiosmtplib

from servicekit.mail_verification import VerifiedMail
from servicekit.smtp_server import SmtpServer

SERVICE_NOT_AVAILABLE = 421
"""The server closes the connection (RFC 5321, 3.8)."""
_START_OF_CONTENT = 354
_LONGEST_REPLY = 32 * 1024
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Stage(Enum):
    """The part of a conversation that a reply is about."""

    SESSION = "session"
    SENDER = "sender"
    RECIPIENTS = "recipients"
    CONTENT = "content"


class Reply(NamedTuple):
    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class Rejected(Exception):
    """The server rejected a part of the conversation. The message is its reply."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(str(reply))
        self.stage = stage
        self.reply = reply


class NeedsSmtpUtf8(Exception):
    """The mail cannot be sent to this server."""


class SessionLost(ConnectionError):
    """The connection ended, or the server sent something that is no SMTP reply."""


class SmtpSession(asyncio.Protocol):
    """One mail at a time: `begin`, then `finish`. After another error than `Rejected` and `NeedsSmtpUtf8` it must be
    aborted.

    `extensions`: what the server offers (EHLO).
    """

    def __init__(self, transport: asyncio.Transport, extensions: frozenset[str]) -> None:
        self.mails = 0
        """That have begun in this session."""
        self._transport = transport
        self._extensions = extensions
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._replies: deque[Reply] = deque()
        self._expected = 0
        self._waiter: asyncio.Future[None] | None = None
        self._is_closed = asyncio.Event()

    @classmethod
    async def open(cls, server: SmtpServer, *, seconds: float) -> "SmtpSession":
        """Raises what `aiosmtplib` raises."""
        smtp = connection_to(server, seconds=seconds)
        await smtp.connect()
        if smtp.is_ehlo_or_helo_needed:
            try:
                await smtp.ehlo()
            except aiosmtplib.SMTPHeloError:
                if not smtp.is_connected:
                    raise
                await smtp.helo()
        if smtp.transport is None:
            raise SessionLost("connection lost")
        transport = cast(asyncio.Transport, smtp.transport)
        session = cls(transport, frozenset(smtp.esmtp_extensions))
        transport.set_protocol(session)
        return session

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    async def begin(self, mail: VerifiedMail) -> None:
        """Names the sender and the recipients. On return the server waits for the content, and has accepted at least
        one recipient. Raises `Rejected`, `NeedsSmtpUtf8`, `SessionLost`."""
        if mail.smtputf8 and "smtputf8" not in self._extensions:
            raise NeedsSmtpUtf8("the server does not offer SMTPUTF8, which the address needs")
        size = f" SIZE={len(mail.octets)}" if "size" in self._extensions else ""
        steps = [(f"MAIL FROM:<{mail.sender}>{size}{' SMTPUTF8' if mail.smtputf8 else ''}", Stage.SENDER)]
        steps += [(f"RCPT TO:<{recipient}>", Stage.RECIPIENTS) for recipient in mail.recipients]
        steps.append(("DATA", Stage.CONTENT))
        if self.mails:
            steps.insert(0, ("RSET", Stage.SESSION))
        self.mails += 1
        pipelined = "pipelining" in self._extensions
        if pipelined:
            self._command(*(command for command, _ in steps))
        try:
            await self._converse(steps, pipelined=pipelined)
        except Rejected:
            with suppress(SessionLost):
                await self._drain()
            raise

    async def finish(self, octets: bytes) -> Reply:
        """Sends the content. Raises `Rejected`. After another error it is unknown whether the server has the mail."""
        content = octets.replace(b"\r\n.", b"\r\n..")
        start, end = b"." if octets.startswith(b".") else b"", b"" if octets.endswith(b"\r\n") else b"\r\n"
        self._write(start + content + end + b".\r\n", replies=1)
        reply = await self._reply()
        if reply.code // 100 != 2:
            raise Rejected(Stage.CONTENT, reply)
        return reply

    async def quit(self, *, seconds: float = 2) -> None:
        """Ends the session as the server expects it, and waits a short while for its agreement."""
        with suppress(TimeoutError, SessionLost):
            async with asyncio.timeout(seconds):
                self._write(b"QUIT\r\n", replies=1)
                await self._reply()
        self.abort()
        await self._is_closed.wait()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).decode(errors="replace").rstrip("\r")
            del self._buffer[: end + 1]
            if not self._expected or not re.match(r"[2-5][0-9]{2}(?:[ -]|$)", line, re.ASCII):
                self.abort()
                return
            self._lines.append(line[4:].strip())
            if line[3:4] != "-":
                self._replies.append(Reply(int(line[:3]), "\n".join(self._lines)))
                self._lines.clear()
                self._expected -= 1
        if len(self._buffer) + sum(map(len, self._lines)) > _LONGEST_REPLY:
            self.abort()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._is_closed.set()
        self._wake()

    async def _converse(self, steps: Sequence[tuple[str, Stage]], *, pipelined: bool) -> None:
        """Reads the replies to the commands, which it sends one by one unless they are pipelined."""
        refused: list[Reply] = []
        for command, stage in steps:
            if not pipelined:
                self._command(command)
            reply = await self._reply()
            if reply.code == _START_OF_CONTENT if stage is Stage.CONTENT else reply.code // 100 == 2:
                continue
            if stage is Stage.RECIPIENTS and reply.code != SERVICE_NOT_AVAILABLE:
                refused.append(reply)
                if len(refused) < sum(each is Stage.RECIPIENTS for _, each in steps):
                    continue
                reply = refused[0]
            raise Rejected(stage, reply)

    async def _drain(self) -> None:
        """Reads the replies to pipelined commands after a rejection. A server that then waits for the content must not
        get one."""
        while self._expected or self._replies:
            if (await self._reply()).code == _START_OF_CONTENT:
                self.abort()

    def _command(self, *commands: str) -> None:
        octets = [command.encode() for command in commands]
        if any(_CONTROL.search(command) for command in octets):
            raise ValueError("an address has a control character")
        self._write(b"".join(command + b"\r\n" for command in octets), replies=len(octets))

    def _write(self, octets: bytes, *, replies: int) -> None:
        if not self.is_open:
            raise SessionLost("connection lost")
        self._expected += replies
        self._transport.write(octets)

    async def _reply(self) -> Reply:
        while not self._replies:
            if not self.is_open:
                raise SessionLost("connection lost")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._replies.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def connection_to(server: SmtpServer, *, seconds: float) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.username,
        password=server.password,
        use_tls=server.tls,
        start_tls=server.starttls,
        timeout=seconds,
        local_hostname=socket.gethostname(),  # the default is a DNS query for each connection
    )
