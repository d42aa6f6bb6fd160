"""Kept SMTP sessions: a mail is neither lost nor sent twice when the server ends or ignores one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.headerregistry import Address

import pytest

from servicekit.mail_message import Mail
from servicekit.mail_transport import Keeping, MailNotSent, SmtpTransport
from servicekit.smtp_server import SmtpServer
from servicekit.smtp_session import SmtpSession

MOMENT = datetime(2026, 11, 20, tzinfo=UTC)
KEEPING = Keeping()
SOON = 10.0
"""Seconds; the limit only ends a test that would hang."""


def a_mail(number: int = 1, recipients: tuple[str, ...] = ("ada@example.com",)) -> Mail:
    return Mail(
        sender=Address("Convene", "no-reply", "example.org"),
        recipients=[Address("", addr_spec=recipient) for recipient in recipients],
        subject="You are booked",
        date=MOMENT,
        message_id=f"<{number}@example.org>",
        text=f".\nMail {number}\n",
    )


class Connection:
    """A connection to the server: the commands that arrived, and the replies that a test gives instead of `250`."""

    def __init__(self, server: "ScriptedServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.commands: list[str] = []
        self.is_silent = False
        self.has_recipient = False

    async def serve(self) -> None:
        self.reply("220 ready")
        while line := (await self.reader.readline()).decode().strip():
            command = line.partition(":")[0].partition(" ")[0]
            self.commands.append(command)
            if self.is_silent:
                continue
            if not self.server.pipelining and len(self.reader._buffer):  # type: ignore[attr-defined]
                self.commands.append("pipelined")
            await self.answer(command)

    async def answer(self, command: str) -> None:
        reply = self.server.replies.get(command, "250 OK")
        if command in {"MAIL", "RCPT"}:
            self.has_recipient = command == "RCPT" and (self.has_recipient or reply.startswith("250"))
        if command == "EHLO":
            self.reply(
                "250-localhost\r\n250-PIPELINING\r\n250 SIZE" if self.server.pipelining else "250-localhost\r\n250 SIZE"
            )
        elif command == "DATA" and not (self.has_recipient or self.server.needs_no_recipient):
            self.reply("554 no valid recipients")
        elif command == "DATA" and command not in self.server.replies:
            self.reply("354 go ahead")
            content = await self.reader.readuntil(b"\r\n.\r\n")
            self.server.received.append(content.removesuffix(b".\r\n"))
            if self.server.drops_after_content:
                self.writer.transport.abort()
                return
            self.reply(self.server.replies.get("content", "250 taken"))
        elif command == "QUIT":
            self.reply("221 bye")
            self.writer.close()
        else:
            self.reply(reply)
            if reply.startswith("421"):
                raise ConnectionResetError

    def reply(self, text: str) -> None:
        self.writer.write(f"{text}\r\n".encode())


class ScriptedServer:
    """A server that misbehaves as a test says. `received`: the contents of mails, as they are on the wire."""

    def __init__(self, *, pipelining: bool = False) -> None:
        self.pipelining = pipelining
        self.connections: list[Connection] = []
        self.received: list[bytes] = []
        self.replies: dict[str, str] = {}
        self.drops_after_content = False
        self.needs_no_recipient = False
        """It accepts DATA although every recipient was rejected."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self.connections.append(connection)
        try:
            await connection.serve()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @property
    def numbers(self) -> list[int]:
        """The mails that the server has received."""
        return [int(content.partition(b"Mail ")[2].partition(b"\r\n")[0]) for content in self.received]


@asynccontextmanager
async def sending(
    server: ScriptedServer, keeping: Keeping = KEEPING, kind: type[SmtpTransport] = SmtpTransport
) -> AsyncIterator[SmtpTransport]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    address = SmtpServer(host="127.0.0.1", port=listener.sockets[0].getsockname()[1], starttls=False)
    transport = kind(address, seconds=SOON, keeping=keeping)
    try:
        yield transport
    finally:
        await transport.close()
        for connection in server.connections:
            connection.writer.transport.abort()
        listener.close()
        await listener.wait_closed()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


@pytest.fixture(params=[False, True], ids=["one by one", "pipelined"])
def server(request: pytest.FixtureRequest) -> ScriptedServer:
    return ScriptedServer(pipelining=request.param)


async def test_mails_share_a_session_with_a_reset_between(server: ScriptedServer) -> None:
    async with sending(server) as transport:
        for number in (1, 2, 3):
            assert await transport.send(a_mail(number)) == "taken"
    [connection] = server.connections
    mail = ["MAIL", "RCPT", "DATA"]
    assert connection.commands == ["EHLO", *mail, "RSET", *mail, "RSET", *mail, "QUIT"]
    assert server.numbers == [1, 2, 3]
    assert server.received[0].endswith(b"\r\n\r\n..\r\nMail 1\r\n")


async def test_session_that_the_server_has_ended_is_replaced(server: ScriptedServer) -> None:
    async with sending(server) as transport:
        for number in range(1, 4):
            await transport.send(a_mail(number))
            server.connections[-1].writer.close()
    assert server.numbers == [1, 2, 3]
    assert len(server.connections) == 3


@pytest.mark.parametrize("command", ["RSET", "MAIL", "RCPT", "DATA"])
async def test_session_that_the_server_ends_with_421_is_replaced(server: ScriptedServer, command: str) -> None:
    async with sending(server) as transport:
        await transport.send(a_mail(1))
        first = server.connections[0]
        first.server = ScriptedServer(pipelining=server.pipelining)
        first.server.replies[command] = "421 too many mails"
        await transport.send(a_mail(2))
    assert server.numbers == [1, 2]
    assert first.server.received == []
    assert len(server.connections) == 2


async def test_new_session_that_ends_with_421_is_a_failure(server: ScriptedServer) -> None:
    server.replies["MAIL"] = "421 shutting down"
    async with sending(server) as transport:
        with pytest.raises(MailNotSent) as failed:
            await transport.send(a_mail())
    assert (failed.value.status_code, failed.value.destination_fault) == (421, True)
    assert len(server.connections) == 1


async def test_session_that_does_not_answer_is_replaced(server: ScriptedServer) -> None:
    async with sending(server, Keeping(begin_seconds=0.2)) as transport:
        await transport.send(a_mail(1))
        server.connections[0].is_silent = True
        await transport.send(a_mail(2))
    assert server.numbers == [1, 2]
    assert len(server.connections) == 2


async def test_sender_rejected_in_a_kept_session_is_tried_in_a_new_one(server: ScriptedServer) -> None:
    """A server may limit the mails of a session by another reply than 421."""
    async with sending(server) as transport:
        await transport.send(a_mail(1))
        server.connections[0].server = ScriptedServer(pipelining=server.pipelining)
        server.connections[0].server.replies["MAIL"] = "452 too many mails in this session"
        await transport.send(a_mail(2))
    assert server.numbers == [1, 2]


async def test_rejected_recipient_and_content_leave_the_session_usable(server: ScriptedServer) -> None:
    async with sending(server) as transport:
        for command, reply in (("RCPT", "550 no such user"), ("content", "554 no spam here"), ("DATA", "451 later")):
            server.replies[command] = reply
            with pytest.raises(MailNotSent) as failed:
                await transport.send(a_mail(1))
            assert (str(failed.value), failed.value.destination_fault) == (reply, False)
            del server.replies[command]
        await transport.send(a_mail(2))
    assert server.numbers[-1] == 2
    assert len(server.connections) == 1


async def test_mail_without_a_reply_to_its_content_is_not_sent_again(server: ScriptedServer) -> None:
    """The server may have it (RFC 5321, 4.5.3.2.6): it is a failure of this mail, as with a new connection."""
    async with sending(server) as transport:
        await transport.send(a_mail(1))
        server.drops_after_content = True
        with pytest.raises(MailNotSent) as failed:
            await transport.send(a_mail(2))
        server.drops_after_content = False
        await transport.send(a_mail(3))
    assert failed.value.destination_fault
    assert server.numbers == [1, 2, 3]


class ReplacesAtAnyTime(SmtpTransport):
    """The negative control: a kept session that fails is replaced, also after the content was sent."""

    async def send(self, mail: Mail) -> str:
        try:
            return await super().send(mail)
        except MailNotSent:
            return await super().send(mail)


async def test_replacing_a_session_after_the_content_sends_a_mail_twice(server: ScriptedServer) -> None:
    async with sending(server, kind=ReplacesAtAnyTime) as transport:
        server.drops_after_content = True
        with pytest.raises(MailNotSent):
            await transport.send(a_mail(1))
    assert server.numbers == [1, 1]


async def test_unused_session_is_ended(server: ScriptedServer) -> None:
    async with sending(server, Keeping(idle_seconds=0.05)) as transport:
        await transport.send(a_mail())
        await until(lambda: server.connections[0].commands[-1] == "QUIT")
        assert not transport._idle
        await transport.send(a_mail(2))
    assert server.numbers == [1, 2]


async def test_number_of_kept_sessions_and_of_mails_in_one_is_bounded(server: ScriptedServer) -> None:
    async with sending(server, Keeping(connections=2, mails=3)) as transport:
        await asyncio.gather(*(transport.send(a_mail(number)) for number in range(5)))
        assert len(transport._idle) == 2
        for number in range(5, 9):
            await transport.send(a_mail(number))
    assert sorted(server.numbers) == list(range(9))
    assert max(connection.commands.count("DATA") for connection in server.connections) == 3
    assert all(connection.commands[-1] == "QUIT" for connection in server.connections)


async def test_commands_are_pipelined_only_where_the_server_offers_it() -> None:
    server = ScriptedServer()
    async with sending(server) as transport:
        for number in (1, 2):
            await transport.send(a_mail(number, ("ada@example.com", "bob@example.com")))
    assert "pipelined" not in server.connections[0].commands


async def test_no_content_is_sent_to_a_server_that_waits_for_it_without_recipients() -> None:
    """A server may accept pipelined DATA although it has rejected every recipient (RFC 2920, 3.1)."""
    server = ScriptedServer(pipelining=True)
    server.needs_no_recipient = True
    async with sending(server) as transport:
        server.replies["RCPT"] = "550 no such user"
        with pytest.raises(MailNotSent, match="550 no such user"):
            await transport.send(a_mail(1))
        del server.replies["RCPT"]
        await transport.send(a_mail(2))
    assert server.numbers == [2]
    assert len(server.connections) == 2


@pytest.mark.parametrize("reply", ["not SMTP", "250-endless" + "x" * 40_000, "250 OK\r\n250 unexpected"])
async def test_reply_that_is_no_smtp_ends_the_session(reply: str) -> None:
    server = ScriptedServer()
    server.replies["RCPT"] = reply
    async with sending(server) as transport:
        with pytest.raises(MailNotSent) as failed:
            await transport.send(a_mail())
        assert failed.value.destination_fault
        assert not any(session.is_open for session in transport._idle)
    assert server.received == []


async def test_cancelled_mail_ends_its_session(server: ScriptedServer) -> None:
    async with sending(server) as transport:
        await transport.send(a_mail(1))
        server.connections[0].is_silent = True
        sent = asyncio.create_task(transport.send(a_mail(2)))
        await until(lambda: len(server.connections[0].commands) > len(["EHLO", "MAIL", "RCPT", "DATA"]))
        sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sent
        assert not transport._idle
        await transport.send(a_mail(3))
    assert server.numbers == [1, 3]


def test_address_with_a_control_character_is_no_command() -> None:
    with pytest.raises(ValueError, match="control character"):
        SmtpSession(None, frozenset())._command("RCPT TO:<ada@example.com>\r\nRCPT TO:<eve@example.com>")  # type: ignore[arg-type]
