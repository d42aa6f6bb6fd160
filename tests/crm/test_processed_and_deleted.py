"""Processing and deleting record who did it and when; pending mails and idempotency keys stay unchanged."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crm.parts import MailServer, a_message, connected, running_crm, settings_for, until

KEY = {"Idempotency-Key": "m-1"}


async def the_row(dsn: str) -> Any:
    async with connected(dsn) as connection:
        return await connection.fetchrow("SELECT * FROM notifications")


async def test_processing_is_stored_with_caller_and_time(crm: httpx.AsyncClient, crm_dsn: str) -> None:
    await crm.post("/notify", json=a_message())
    first = await crm.post("/notifications/1/process", headers={"X-Request-ID": "the-first"})
    again = await crm.post("/notifications/1/process")
    assert first.json() == again.json() == {"status": "success", "message": "Notification marked as processed"}
    assert (await crm.get("/notifications")).json()[0]["processed"] is True
    row = await the_row(crm_dsn)
    assert row["processed_by"] == "127.0.0.1, request the-first"
    assert row["processed_at"] is not None


async def test_deleted_notification_is_hidden_and_kept_with_caller_and_time(
    crm: httpx.AsyncClient, crm_dsn: str
) -> None:
    await crm.post("/notify", json=a_message(), headers=KEY)
    answer = await crm.delete("/notifications/1", headers={"X-Request-ID": "the-end"})
    assert answer.json() == {"message": "Notification deleted successfully"}
    for query in ("", "?include=events", "?message_id=m-1", "?booking_id=12"):
        assert (await crm.get(f"/notifications{query}")).json() == []
    row = await the_row(crm_dsn)
    assert row["deleted_by"] == "127.0.0.1, request the-end"
    assert row["deleted_at"] is not None
    for again in (await crm.delete("/notifications/1"), await crm.post("/notifications/1/process")):
        assert again.status_code == 404
    assert (await the_row(crm_dsn))["deleted_by"] == "127.0.0.1, request the-end"


async def test_idempotency_key_is_valid_after_its_notification_was_deleted(
    crm: httpx.AsyncClient, mail_server: MailServer, crm_dsn: str
) -> None:
    first = await crm.post("/notify", json=a_message(), headers=KEY)
    await crm.delete("/notifications/1")
    again = await crm.post("/notify", json=a_message(), headers=KEY)
    assert (again.status_code, again.text) == (200, first.text)
    assert (await crm.post("/notify", json=a_message(booking_id=13), headers=KEY)).status_code == 422
    assert (await crm.get("/notifications")).json() == []
    assert len(mail_server.mails) == 1
    async with connected(crm_dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM notifications") == 1


@pytest.mark.parametrize("path", ["/notifications/1", "/notifications/clear"])
async def test_mail_of_a_deleted_notification_is_still_sent(
    dsn: str, mail_server: MailServer, tmp_path: Path, path: str
) -> None:
    mail_server.stop()
    async with running_crm(settings_for(dsn, SMTP_URL=mail_server.url, CONVENE_DATA=str(tmp_path))) as client:
        assert (await client.post("/notify", json=a_message())).json()["email_sent"] is False
        assert (await client.delete(path)).status_code == 200
        mail_server.start()

        async def sent() -> bool:
            return bool((await the_row(dsn))["status"] == "sent")

        await until(sent)
    assert len(mail_server.mails) == 1


async def test_clearing_deletes_the_listed_notifications_and_returns_their_number(crm: httpx.AsyncClient) -> None:
    for number in range(1, 4):
        await crm.post("/notify", json=a_message(booking_id=number, facilitator=...))
    await crm.post("/notify", json=a_message(action="event_created", booking_id=None, user=None))
    await crm.delete("/notifications/2")
    assert (await crm.delete("/notifications/clear")).json()["deleted_count"] == 2
    assert (await crm.get("/notifications")).json() == []
    assert len((await crm.get("/notifications?include=events")).json()) == 1
    assert (await crm.delete("/notifications/clear?include=events")).json()["deleted_count"] == 1
    assert (await crm.delete("/notifications/clear")).json()["deleted_count"] == 0
    assert (await crm.get("/notifications?include=events")).json() == []


async def test_include_accepts_events_only(crm: httpx.AsyncClient) -> None:
    answer = await crm.get("/notifications?include=everything")
    assert (answer.status_code, answer.json()["details"]) == (400, {"include": "Expected events"})


async def test_concurrent_clearing_counts_every_notification_once(crm: httpx.AsyncClient) -> None:
    for number in range(1, 6):
        await crm.post("/notify", json=a_message(booking_id=number, facilitator=...))
    answers = await asyncio.gather(*(crm.delete("/notifications/clear") for _ in range(4)))
    assert sum(answer.json()["deleted_count"] for answer in answers) == 5
