"""Facilitators' mails: what a client wrote arrives as they wrote it, to the address that was meant."""

from collections.abc import Sequence
from dataclasses import replace
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import httpx
import pytest

from servicekit import mail_message
from servicekit.mail_headers import Header, address_header
from tests.crm.parts import MailServer, a_message, mail_status, running_crm, settings_for

ENCODED = "=?utf-8?b?SGkNCkJjYzogeEBleGFtcGxlLmNvbQ0KDQo8aDE+T3ducw==?="
SECOND_MAILBOX = "=?utf-8?q?=22X=22_=3Cevil=40example=2Ecom=3E=2C_?="


async def mailed(crm: httpx.AsyncClient, mail_server: MailServer, **changes: Any) -> Any:
    message = a_message()
    for part, change in changes.items():
        message[part] = message[part] | change
    answer = await crm.post("/notify", json=message)
    assert answer.status_code == 200
    assert answer.json()["email_sent"] is True
    return mail_server.mails[-1]


@pytest.mark.parametrize("text", [ENCODED, SECOND_MAILBOX, '"X" <evil@example.com>,', "Ада Лавлейс " * 5 + "и чай"])
async def test_encoded_words_are_not_decoded(crm: httpx.AsyncClient, mail_server: MailServer, text: str) -> None:
    mail = await mailed(
        crm, mail_server, user={"name": text}, event={"title": text}, facilitator={"name": text, "email": "j@faß.de"}
    )
    assert mail["Subject"] == f"New booking: {text} for {text} (1 Dec 2026, 09:00 UTC)"
    assert mail["To"].addresses == (Address(text, "j", "xn--fa-hia.de"),)
    assert mail["Reply-To"].addresses == (Address(text, "ada", "example.com"),)
    assert "Bcc" not in mail


async def test_international_domains_are_encoded_in_both_directions(
    crm: httpx.AsyncClient, mail_server: MailServer
) -> None:
    mail = await mailed(
        crm, mail_server, user={"email": "ada@straße.example"}, facilitator={"email": "mira@bücher.example"}
    )
    assert mail["To"].addresses[0].addr_spec == "mira@xn--bcher-kva.example"
    assert mail["Reply-To"].addresses[0].addr_spec == "ada@xn--strae-oqa.example"


async def test_address_that_needs_smtputf8_is_a_dead_letter(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    message = a_message(facilitator={"id": 2, "name": "Jörg", "email": "jörg@example.com"})
    answer = await crm.post("/notify", json=message)
    assert answer.json()["email_sent"] is False
    [item] = (await crm.get("/notifications")).json()
    assert "SMTPUTF8" in item["response"]
    assert mail_server.mails == []


async def test_with_smtputf8_non_ascii_local_parts_are_mailed(dsn: str, tmp_path: Path) -> None:
    async with running_crm(settings_for(dsn, CONVENE_DATA=str(tmp_path), MAIL_SMTPUTF8="true")) as client:
        message = a_message(facilitator={"id": 2, "name": "Jörg", "email": "jörg@example.com"})
        assert (await client.post("/notify", json=message)).json()["email_sent"] is True
    [path] = (tmp_path / "mail").iterdir()
    assert " <jörg@example.com>\r\n".encode() in path.read_bytes()


async def test_mail_that_parses_differently_is_a_dead_letter(
    crm: httpx.AsyncClient, crm_dsn: str, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the standard library writes it: the name becomes a second mailbox."""

    def written(name: str, addresses: Sequence[Address]) -> Header:
        standard = EmailMessage(policy=SMTP)
        standard[name] = addresses
        return replace(address_header(name, addresses), lines=[bytes(standard).decode().partition(": ")[2].strip()])

    monkeypatch.setattr(mail_message, "address_header", written)
    message = a_message(facilitator={"id": 2, "name": SECOND_MAILBOX, "email": "john@example.com"})
    assert (await crm.post("/notify", json=message)).json()["email_sent"] is False
    [item] = (await crm.get("/notifications")).json()
    assert "would be read as something else" in item["response"]
    assert await mail_status(crm_dsn, item["id"]) == "failed"
    assert mail_server.mails == []


async def test_mail_has_the_requested_subject(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    text = "New booking: Ada Lovelace for Sunrise Yoga in the Garden (7 Dec 2026)"
    for subject in (ENCODED, *(text[:length].strip() for length in range(60, 70))):
        body = {"to_email": "Ada@faß.de", "subject": subject}
        assert (await crm.post("/test-email", json=body)).status_code == 200
        mail = mail_server.mails[-1]
        assert mail["Subject"] == subject
        assert mail["To"] == "ada@xn--fa-hia.de"


@pytest.mark.parametrize(
    "address", ["jörg@example.com", "ﬁx@example.com", "a" * 65 + "@example.com", "a" * 250 + "@x.com"]
)
async def test_mail_to_an_invalid_address_is_rejected(crm: httpx.AsyncClient, address: str) -> None:
    answer = await crm.post("/test-email", json={"to_email": address})
    assert answer.status_code == 400
    assert "to_email" in str(answer.json())
