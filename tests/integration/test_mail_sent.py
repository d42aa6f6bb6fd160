"""How a mail leaves: by SMTP to a real server, or as a file."""

import contextlib
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from domain.outbox import Delivered, Destination, Failed, Message, MessageType, Outcome
from infrastructure.email.composer import EmailSender, MailComposer
from servicekit.mail_message import Mail
from servicekit.mail_transport import FileTransport, MailTransport, SmtpTransport
from servicekit.smtp_server import smtp_server
from tests.support.memory.mail import MemoryMailServer
from tests.support.messages import a_message

COMPOSER = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org")


def a_mail(**payload: Any) -> Mail:
    return COMPOSER.compose(a_message(destination=Destination.EMAIL, **payload))


class Composed:
    """Composes the same mail for each message."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail

    def compose(self, message: Message) -> Mail:
        return self.mail


async def outcome_of(mail: Mail, transport: MailTransport) -> Outcome:
    sender = EmailSender(cast(MailComposer, Composed(mail)), transport)
    try:
        return await sender.deliver(a_message(destination=Destination.EMAIL))
    finally:
        await sender.close()


class Mailbox:
    """A server's handler: keeps what it accepted."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.login: LoginPassword | None = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 taken as 42"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        self.login = data
        return AuthResult(success=data.password == b"p@ss/word", handled=False)


@contextlib.contextmanager
def serving(mailbox: Mailbox, **options: Any) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        controller.stop()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def server(mailbox: Mailbox) -> Iterator[str]:
    with serving(mailbox) as address:
        yield address


async def test_mail_arrives_unchanged(mailbox: Mailbox, server: str) -> None:
    mail = a_mail(user={"name": "Łukasz"})
    outcome = await outcome_of(mail, SmtpTransport(smtp_server(f"smtp://{server}")))
    assert isinstance(outcome, Delivered)
    assert "taken as 42" in outcome.answer
    [envelope] = mailbox.envelopes
    assert envelope.mail_from == "no-reply@convene.example"
    assert envelope.rcpt_tos == ["ada@example.com"]
    assert isinstance(envelope.content, bytes)
    received = message_from_bytes(envelope.content, policy=default)
    assert received["Message-ID"] == mail.message_id
    assert received["To"].addresses[0].display_name == "Łukasz"


ENCODED = "=?utf-8?b?SGkNCkJjYzogeEBleGFtcGxlLmNvbQ0KDQo8aDE+T3ducw==?="
"""`Hi`, a Bcc header and a body."""
SECOND_MAILBOX = "=?utf-8?q?=22X=22_=3Cevil=40example=2Ecom=3E=2C_?="


@pytest.mark.parametrize(
    "text",
    [
        ENCODED,
        f"Yoga {ENCODED} and tea",
        SECOND_MAILBOX,
        '"X" <evil@example.com>, ',
        *(
            "Ada for Sunrise Yoga in the Garden, and then some tea, for everyone there"[:n]
            for n in (51, 55, 59, 62, 70)
        ),
    ],
)
async def test_user_text_arrives_unchanged(mailbox: Mailbox, server: str, text: str) -> None:
    text = text.strip()
    mail = a_mail(
        event={"title": text}, user={"name": text}, facilitator={"name": text}, booking={"notes": ".\r.\n..\n"}
    )
    assert isinstance(await outcome_of(mail, SmtpTransport(smtp_server(f"smtp://{server}"))), Delivered)
    [envelope] = mailbox.envelopes
    assert isinstance(envelope.content, bytes)
    received = message_from_bytes(envelope.content, policy=default)
    assert received["Subject"] == f"You are booked: {text}"
    for header, address in (("To", "ada@example.com"), ("Reply-To", "john@example.com")):
        [person] = received[header].addresses
        assert (person.display_name, person.addr_spec) == (" ".join(text.split()), address)
    assert received.keys() == [*(header.name for header in mail.headers), "MIME-Version", "Content-Type"]
    body = received.get_body(("plain",))
    assert body is not None
    assert ".\r\n.\r\n..\r\n" in body.get_content()


async def test_international_domain_is_encoded_by_idna_2008(mailbox: Mailbox, server: str) -> None:
    mail = a_mail(user={"email": "ada@faß.de"}, facilitator={"email": "john@straße.example"})
    assert isinstance(await outcome_of(mail, SmtpTransport(smtp_server(f"smtp://{server}"))), Delivered)
    [envelope] = mailbox.envelopes
    assert envelope.rcpt_tos == ["ada@xn--fa-hia.de"]
    assert isinstance(envelope.content, bytes)
    received = message_from_bytes(envelope.content, policy=default)
    assert received["Reply-To"].addresses[0].addr_spec == "john@xn--strae-oqa.example"


async def test_non_ascii_local_part_is_sent_to_a_server_with_smtputf8(mailbox: Mailbox) -> None:
    composer = MailComposer(mail_from="c@convene.example", public_url="https://book.example.org", smtputf8=True)
    mail = composer.compose(a_message(destination=Destination.EMAIL, user={"email": "jörg@faß.de"}))
    for offered in (True, False):
        with serving(mailbox, enable_SMTPUTF8=offered) as server:
            outcome = await outcome_of(mail, SmtpTransport(smtp_server(f"smtp://{server}")))
        assert isinstance(outcome, Delivered) is offered
    assert isinstance(outcome, Failed)
    assert outcome.permanent
    [envelope] = mailbox.envelopes
    assert envelope.rcpt_tos == ["jörg@xn--fa-hia.de"]
    assert isinstance(envelope.content, bytes)
    assert "To: Ada Lovelace <jörg@xn--fa-hia.de>\r\n".encode() in envelope.content


async def test_without_smtputf8_such_an_account_gets_no_mail_and_no_reply_to(tmp_path: Path) -> None:
    sender = EmailSender(COMPOSER, FileTransport(tmp_path))
    outcome = await sender.deliver(a_message(destination=Destination.EMAIL, user={"email": "jörg@example.com"}))
    assert isinstance(outcome, Failed)
    assert outcome.permanent
    outcome = await sender.deliver(a_message(destination=Destination.EMAIL, facilitator={"email": "jörg@example.com"}))
    assert isinstance(outcome, Delivered)


async def test_mail_that_parses_differently_is_a_dead_letter(tmp_path: Path) -> None:
    mail = a_mail()
    mail.headers[1] = replace(mail.headers[1], lines=["ada@example.com, eve@example.com"])
    transports: list[MailTransport] = [FileTransport(tmp_path), SmtpTransport(smtp_server("smtp://127.0.0.1:9"))]
    for transport in transports:
        outcome = await outcome_of(mail, transport)
        assert isinstance(outcome, Failed)
        assert outcome.permanent
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("550 no such user", Failed("550 no such user", permanent=True, status_code=550)),
        ("451 greylisted", Failed("451 greylisted", status_code=451)),
        ("421 shutting down", Failed("421 shutting down", status_code=421, destination_fault=True)),
    ],
)
async def test_failure_of_the_transport_is_the_outcome(reply: str, outcome: Failed) -> None:
    """tests/conformance/test_mail_transports.py has every failure of a server."""
    server = MemoryMailServer()
    server.to_recipients["ada@example.com"] = reply
    assert await outcome_of(a_mail(), server) == outcome


async def test_login_in_the_url_is_unescaped(mailbox: Mailbox) -> None:
    with serving(mailbox, authenticator=mailbox.authenticate, auth_require_tls=False) as address:
        outcome = await outcome_of(
            a_mail(), SmtpTransport(smtp_server(f"smtp://me%40example.com:p%40ss%2Fword@{address}"))
        )
        assert isinstance(outcome, Delivered)
        assert mailbox.login == LoginPassword(b"me@example.com", b"p@ss/word")
        outcome = await outcome_of(a_mail(), SmtpTransport(smtp_server(f"smtp://me:wrong@{address}")))
    assert isinstance(outcome, Failed)
    assert (outcome.status_code, outcome.permanent) == (535, False)


async def test_required_starttls_that_is_not_offered_sends_nothing(mailbox: Mailbox, server: str) -> None:
    outcome = await outcome_of(a_mail(), SmtpTransport(smtp_server(f"smtp://{server}?starttls=1")))
    assert isinstance(outcome, Failed)
    assert not outcome.permanent
    assert mailbox.envelopes == []


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_without_a_server_mail_is_a_file_named_by_time_recipient_and_subject(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "mail"
    outcome = await EmailSender(COMPOSER, FileTransport(directory)).deliver(a_message(destination=Destination.EMAIL))
    [file] = directory.iterdir()
    assert file.name == "20261120T130810Z-ada@example.com-you-are-booked-morning-yoga-7c8d9e0f1a2b.eml"
    assert outcome == Delivered(file.name)
    assert file.stat().st_mode & 0o777 == 0o600
    assert message_from_bytes(file.read_bytes(), policy=default)["Subject"] == "You are booked: Morning Yoga"


async def test_repeated_message_replaces_its_file(tmp_path: Path) -> None:
    sender = EmailSender(COMPOSER, FileTransport(tmp_path))
    for _ in range(2):
        await sender.deliver(a_message(destination=Destination.EMAIL))
    await sender.deliver(a_message(MessageType.BOOKING_CANCELLED, destination=Destination.EMAIL))
    assert len(names(tmp_path)) == 2


async def test_file_name_stays_in_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "mail"
    mail = a_mail(event={"title": "../../etc/passwd " + "x" * 150}, user={"email": "'/./x'@example.com"})
    assert isinstance(await outcome_of(mail, FileTransport(directory)), Delivered)
    assert names(tmp_path) == ["mail"]
    [name] = names(directory)
    assert re.fullmatch(r"[a-zA-Z0-9@._-]{1,200}\.eml", name)


async def test_unwritable_directory_is_retried(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    outcome = await outcome_of(a_mail(), FileTransport(tmp_path / "mail"))
    assert isinstance(outcome, Failed)
    assert not outcome.permanent
