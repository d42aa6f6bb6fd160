"""The mail server in memory, and the SMTP client with a local server: what a test sets, and what has arrived."""

import asyncio
from typing import Any, Protocol

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from servicekit.mail_transport import SmtpTransport
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

    def __init__(self) -> None:
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


class SmtpWithLocalServer:
    """A transport that starts and stops its server for each mail, so that a fault may also concern the connection."""

    def __init__(self, server: LocalMailServer, *, seconds: float = 5) -> None:
        self._server = server
        self._seconds = seconds

    async def send(self, mail: Any) -> str:
        listener = await asyncio.get_running_loop().create_server(self._server.protocol, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        if self._server.fault is MailFault.UNREACHABLE:
            listener.close()
        address = SmtpServer(host="127.0.0.1", port=port, username="ada", password="secret", starttls=False)
        try:
            return await SmtpTransport(address, seconds=self._seconds).send(mail)
        finally:
            listener.close()
            await listener.wait_closed()
