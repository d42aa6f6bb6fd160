"""One effect for one Idempotency-Key. Each race has a negative control without its guard."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from crm.delivery.queue import claim_due
from crm.settings import CrmSettings
from tests.crm.parts import MailServer, a_message, connected, running_crm, settings_for

CLAIM_DUE = claim_due("notifications", "n.id", "true")
KEY = {"Idempotency-Key": "0192f1b2-same"}


@pytest.fixture
def settings(dsn: str, mail_server: MailServer, tmp_path: Path) -> CrmSettings:
    return settings_for(dsn, SMTP_URL=mail_server.url, CONVENE_DATA=str(tmp_path))


async def _race(settings: CrmSettings) -> list[httpx.Response]:
    async with running_crm(settings) as one, running_crm(settings) as other:
        await asyncio.gather(*(client.get("/notifications") for client in (one, other) for _ in range(4)))
        calls = [client.post("/notify", json=a_message(), headers=KEY) for client in (one, other) * 10]
        return await asyncio.gather(*calls)


async def test_same_key_on_two_processes_has_one_effect(
    settings: CrmSettings, dsn: str, mail_server: MailServer
) -> None:
    mail_server.delay = 0.3  # every rival must wait for the one that sends
    answers = await _race(settings)
    assert [answer.status_code for answer in answers] == [200] * 20
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["email_sent"] is True
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM notifications") == 1
    assert len(mail_server.mails) == 1


async def test_without_unique_key_the_race_stores_and_mails_more_than_once(
    own_dsn: str, mail_server: MailServer, tmp_path: Path
) -> None:
    async with connected(own_dsn) as connection:
        await connection.execute("ALTER TABLE notifications DROP CONSTRAINT uq_notifications_message_id")
    await _race(settings_for(own_dsn, SMTP_URL=mail_server.url, CONVENE_DATA=str(tmp_path)))
    async with connected(own_dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM notifications") > 1
    assert len(mail_server.mails) > 1


async def test_repeated_key_returns_the_same_answer(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    answers = [await crm.post("/notify", json=a_message(), headers=KEY) for _ in range(3)]
    assert len({answer.text for answer in answers}) == 1
    assert len(mail_server.mails) == 1


async def test_same_body_in_another_field_order_is_the_same(crm: httpx.AsyncClient) -> None:
    message = a_message()
    first = await crm.post("/notify", json=message, headers=KEY)
    again = await crm.post("/notify", json=dict(reversed(message.items())), headers=KEY)
    assert again.text == first.text


async def test_same_key_with_another_body_is_rejected(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    await crm.post("/notify", json=a_message(), headers=KEY)
    refused = await crm.post("/notify", json=a_message(booking_id=13), headers=KEY)
    assert refused.status_code == 422
    assert refused.json()["code"] == "idempotency_key_reused"
    assert len((await crm.get("/notifications")).json()) == 1
    assert len(mail_server.mails) == 1


async def test_webhook_id_is_the_key_if_no_other_is_given(crm: httpx.AsyncClient) -> None:
    answers = [await crm.post("/notify", json=a_message(), headers={"webhook-id": "msg_1"}) for _ in range(2)]
    assert answers[0].text == answers[1].text
    assert (await crm.get("/notifications")).json()[0]["message_id"] == "msg_1"


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, b"\xff\xfe"])
async def test_invalid_key_is_rejected(crm: httpx.AsyncClient, key: str | bytes) -> None:
    headers: dict[str | bytes, str | bytes] = {b"Idempotency-Key": key if isinstance(key, bytes) else key.encode()}
    answer = await crm.post("/notify", json=a_message(), headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert "idempotency-key" in answer.json()["details"]


async def _claims_of_two(dsn: str, statement: str) -> tuple[int, int]:
    """How many of five due mails two processes get when the second asks before the first has committed."""
    async with connected(dsn) as one, connected(dsn) as other:
        await one.execute(
            "INSERT INTO notifications (body, recipient_email, status, next_attempt_at) "
            "SELECT '{\"event\": {}}', 'f@example.com', 'pending', now() FROM generate_series(1, 5)"
        )
        lease = UUID("0192f1b2-0000-7000-8000-000000000000")
        arguments = (5, lease, timedelta(seconds=60))
        transaction = one.transaction()
        await transaction.start()
        first = await one.fetch(statement, *arguments)
        rival = asyncio.create_task(other.fetch(statement, *arguments))
        await asyncio.wait({rival}, timeout=0.3)
        await transaction.commit()
        return len(first), len(await rival)


async def test_two_processes_never_claim_the_same_mail(dsn: str) -> None:
    assert await _claims_of_two(dsn, CLAIM_DUE) == (5, 0)


async def test_without_skip_locked_both_processes_claim_every_mail(dsn: str) -> None:
    without_guard = CLAIM_DUE.replace("FOR UPDATE SKIP LOCKED", "")
    assert without_guard != CLAIM_DUE
    assert await _claims_of_two(dsn, without_guard) == (5, 5)
