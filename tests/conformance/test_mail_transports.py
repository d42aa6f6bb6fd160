"""The mail server in memory and the SMTP client with a local server: which mails arrive, and what a failure says."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from email.headerregistry import Address
from typing import cast

import pytest

from servicekit.mail_message import Mail
from servicekit.mail_transport import Keeping, LoginRefused, MailNotSent, MailTransport, UnsendableMail
from tests.conformance.mail_servers import Connections, LocalMailServer, MailServer
from tests.support.memory.mail import MailFault, MemoryMailServer

ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture(params=["memory", "new connection", "kept connection", "pipelined"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[MailTransport]:
    if request.param == "memory":
        yield MemoryMailServer()
        return
    server = LocalMailServer(pipelining=request.param == "pipelined")
    keeping = Keeping(connections=0) if request.param == "new connection" else Keeping()
    connections = Connections(server, keeping=keeping)
    if keeping.connections:
        await connections.send(a_mail(ADA))
        server.accepted.clear()
    yield connections
    await connections.close()


@pytest.fixture
def server(transport: MailTransport) -> MailServer:
    return transport if isinstance(transport, MemoryMailServer) else cast(Connections, transport).server


@pytest.fixture
def impatient(transport: MailTransport) -> MailTransport:
    """As `transport`, with a short time for a server that never answers."""
    if isinstance(transport, Connections):
        transport.seconds = 0.5
    return transport


def a_mail(*recipients: str) -> Mail:
    return Mail(
        sender=Address("Convene", addr_spec="no-reply@example.org"),
        recipients=[Address("Łukasz", *recipient.split("@")) for recipient in recipients],
        subject="You are booked",
        date=datetime(2026, 11, 20, tzinfo=UTC),
        message_id="<1@example.org>",
        text=".\nThe first line is a dot\n",
    )


async def failure(transport: MailTransport, mail: Mail) -> MailNotSent:
    with pytest.raises(MailNotSent) as failed:
        await transport.send(mail)
    return failed.value


async def test_accepted_mail_arrives_with_its_envelope_and_octets(server: MailServer, transport: MailTransport) -> None:
    mail = a_mail(ADA, BOB)
    assert await transport.send(mail) == "taken as 42"
    (accepted,) = server.accepted
    assert (accepted.sender, accepted.recipients) == ("no-reply@example.org", [ADA, BOB])
    assert accepted.octets == mail.octets()


@pytest.mark.parametrize(
    ("reply", "permanent", "destination_fault"),
    [
        ("550 no such user", True, False),
        ("552 mailbox full", True, False),
        ("450 busy", False, False),
        ("451 greylisted", False, False),
        ("421 shutting down", False, True),
    ],
)
@pytest.mark.parametrize("stage", ["recipient", "content"])
async def test_rejection_is_permanent_from_500_and_concerns_the_server_at_421(
    server: MailServer, transport: MailTransport, stage: str, reply: str, permanent: bool, destination_fault: bool
) -> None:
    if stage == "recipient":
        server.to_recipients[ADA] = reply
    else:
        server.to_content = reply
    failed = await failure(transport, a_mail(ADA))
    assert str(failed) == reply
    assert (failed.permanent, failed.destination_fault) == (permanent, destination_fault)
    assert failed.status_code == int(reply[:3])
    assert server.accepted == []


@pytest.mark.parametrize("reply", ["550 not allowed to send", "451 try later"])
async def test_rejected_sender_is_a_fault_of_the_settings(
    server: MailServer, transport: MailTransport, reply: str
) -> None:
    server.to_sender = reply
    failed = await failure(transport, a_mail(ADA))
    assert str(failed) == reply
    assert (failed.permanent, failed.destination_fault, failed.status_code) == (False, True, int(reply[:3]))


async def test_refused_login_is_an_error_of_its_own(server: MailServer, transport: MailTransport) -> None:
    server.to_login = "535 5.7.8 Authentication credentials invalid"
    failed = await failure(transport, a_mail(ADA))
    assert isinstance(failed, LoginRefused)
    assert str(failed) == server.to_login
    assert (failed.permanent, failed.destination_fault, failed.status_code) == (False, True, 535)


async def test_mail_goes_to_the_recipients_that_are_accepted(server: MailServer, transport: MailTransport) -> None:
    server.to_recipients[ADA] = "550 no such user"
    assert await transport.send(a_mail(ADA, BOB)) == "taken as 42"
    (accepted,) = server.accepted
    assert accepted.recipients == [BOB]


async def test_mail_without_an_accepted_recipient_fails_as_the_first_one(
    server: MailServer, transport: MailTransport
) -> None:
    server.to_recipients = {ADA: "451 greylisted", BOB: "550 no such user"}
    failed = await failure(transport, a_mail(ADA, BOB))
    assert (str(failed), failed.permanent) == ("451 greylisted", False)
    assert server.accepted == []


@pytest.mark.parametrize("fault", [MailFault.UNREACHABLE, MailFault.DISCONNECTS, MailFault.LOSES_THE_REPLY])
async def test_lost_connection_is_a_fault_of_the_server(
    server: MailServer, transport: MailTransport, fault: MailFault
) -> None:
    server.fault = fault
    failed = await failure(transport, a_mail(ADA))
    assert (failed.permanent, failed.destination_fault, failed.status_code) == (False, True, None)
    # The sender cannot know that the server has the mail: it arrives twice, with the same Message-ID.
    assert len(server.accepted) == (fault is MailFault.LOSES_THE_REPLY)


async def test_server_that_does_not_answer_is_a_fault_of_the_server(
    server: MailServer, impatient: MailTransport
) -> None:
    server.fault = MailFault.SILENT
    failed = await failure(impatient, a_mail(ADA))
    assert re.fullmatch(r"\S+: no answer within \S+ s", str(failed))
    assert (failed.permanent, failed.destination_fault, failed.status_code) == (False, True, None)
    assert server.accepted == []


async def test_accepted_mail_is_sent_although_the_conversation_does_not_end(
    server: MailServer, impatient: MailTransport
) -> None:
    server.fault = MailFault.HANGS_AT_THE_END
    assert await impatient.send(a_mail(ADA)) == "taken as 42"
    assert len(server.accepted) == 1


@pytest.mark.parametrize("offered", [True, False])
async def test_address_beyond_ascii_needs_smtputf8(server: MailServer, transport: MailTransport, offered: bool) -> None:
    server.offers_smtputf8 = offered
    mail = a_mail("jörg@example.com")
    if offered:
        await transport.send(mail)
    else:
        failed = await failure(transport, mail)
        assert str(failed).endswith(": the server does not offer SMTPUTF8, which the address needs")
        assert (failed.permanent, failed.destination_fault) == (True, False)
    assert [accepted.recipients for accepted in server.accepted] == [["jörg@example.com"]] * offered


async def test_mail_that_would_be_read_as_another_is_not_sent(server: MailServer, transport: MailTransport) -> None:
    mail = a_mail(ADA)
    mail.headers[1] = replace(mail.headers[1], lines=[f"{ADA}, {BOB}"])
    failed = await failure(transport, mail)
    assert isinstance(failed, UnsendableMail)
    assert failed.permanent
    assert server.accepted == []


async def test_server_that_recovers_accepts_the_next_mail(server: MailServer, transport: MailTransport) -> None:
    server.fault, server.to_recipients[ADA] = MailFault.DISCONNECTS, "550 no such user"
    await failure(transport, a_mail(ADA))
    server.fault = None
    await failure(transport, a_mail(ADA))
    server.to_recipients.clear()
    await transport.send(a_mail(ADA))
    assert len(server.accepted) == 1
