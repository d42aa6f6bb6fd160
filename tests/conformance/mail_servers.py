"""The mail server in memory, and the SMTP client with a local server: what a test sets, and what has arrived."""

import asyncio
from typing import Any, Protocol

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from servicekit.mail_message import Mail
from servicekit.mail_transport import Keeping, SmtpTransport
from servicekit.mail_verification import VerifiedMail
from servicekit.smtp_server import SmtpServer
from tests.support.memory.mail import ACCEPTED, MailFault


class MailServer(Protocol):
    accepted: list[VerifiedMail]
    to_login: str
    to_sender: str
    to_recipients: dict[str, str]
    to_content: str
    offers_smtputf8: bool
    fault: MailFault | None


class LocalMailServer:
    """The handler of a local SMTP server with the replies and faults that a test sets."""

    def __init__(self, *, pipelining: bool = False) -> None:
        self.pipelining = pipelining
        self.accepted: list[VerifiedMail] = []
        self.to_login = "235 welcome"
        self.to_sender = "250 OK"
        self.to_recipients: dict[str, str] = {}
        self.to_content = ACCEPTED
        self.offers_smtputf8 = False
        self.fault: MailFault | None = None

    def protocol(self) -> asyncio.Protocol:
        if self.fault is MailFault.SILENT:
            return asyncio.Protocol()
        return SMTP(
            self,
            authenticator=self.authenticate,
            auth_require_tls=False,
            hostname="localhost",
            enable_SMTPUTF8=self.offers_smtputf8,
        )

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=self.to_login.startswith("2"), handled=False)

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [responses[0], "250-PIPELINING", *responses[1:]] if self.pipelining else responses

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.to_sender

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.fault is MailFault.DISCONNECTS:
            await _disconnect(server)
        reply = self.to_recipients.get(address, "250 OK")
        if reply.startswith("2"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.to_content.startswith("2"):
            assert isinstance(envelope.content, bytes)
            assert envelope.mail_from is not None
            self.accepted.append(VerifiedMail(envelope.mail_from, list(envelope.rcpt_tos), envelope.content))
        if self.fault is MailFault.LOSES_THE_REPLY:
            await _disconnect(server)
        return self.to_content

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.fault is MailFault.HANGS_AT_THE_END:
            await asyncio.Event().wait()
        return "221 bye"


async def _disconnect(server: SMTP) -> None:
    assert isinstance(server.transport, asyncio.Transport)
    server.transport.abort()
    await asyncio.Event().wait()  # the end of the connection cancels this


class Connections:
    """The SMTP client with the local server. A fault of the server's connections ends those that are open, as a restart
    does."""

    def __init__(self, server: LocalMailServer, *, keeping: Keeping) -> None:
        self.server = server
        self.seconds = 5.0
        """For one mail. It may be changed before each."""
        self._keeping = keeping
        self._listener: asyncio.Server | None = None
        self._port = 0
        self._transport: SmtpTransport | None = None
        self._open: list[SMTP] = []

    async def send(self, mail: Mail) -> str:
        await self._listen()
        if self._transport is None:
            address = SmtpServer(host="127.0.0.1", port=self._port, username="ada", password="secret", starttls=False)
            self._transport = SmtpTransport(address, keeping=self._keeping)
        self._transport._seconds = self.seconds
        return await self._transport.send(mail)

    async def close(self) -> None:
        if self._transport:
            await self._transport.close()
        await self._stop()

    async def _listen(self) -> None:
        concerns_connections = self.server.fault in {MailFault.UNREACHABLE, MailFault.SILENT}
        if concerns_connections or not self.server.to_login.startswith("2"):
            await self._stop()
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(self._protocol, "127.0.0.1", self._port, reuse_address=True)
            self._port = self._listener.sockets[0].getsockname()[1]
        if self.server.fault is MailFault.UNREACHABLE:
            await self._stop()

    def _protocol(self) -> asyncio.Protocol:
        protocol = self.server.protocol()
        if isinstance(protocol, SMTP):
            self._open.append(protocol)
        return protocol

    async def _stop(self) -> None:
        if self._listener:
            self._listener.close()
        for connection in self._open:
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()
        self._open.clear()
        if self._listener:
            await self._listener.wait_closed()
        self._listener = None
