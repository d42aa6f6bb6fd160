"""Webhooks that a receiver refused, and those that name another user, event or booking, for the operator."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import structlog

from tests.crm.parts import connected, running_crm, settings_for, until
from tests.crm.test_metrics import TOKEN as METRICS_TOKEN
from tests.crm.test_metrics import scraped
from tests.support.receivers import Receiver, answer, receiving

PAID = {"booking_id": 15, "user_id": 12, "event_id": 7, "payment_status": "paid"}
NOT_FOUND = b'{"error": "Booking not found", "code": "booking_not_found"}'


@pytest.fixture
async def booking_api() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def crm(dsn: str, tmp_path: Path, booking_api: Receiver) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_for(
        dsn,
        CONVENE_DATA=str(tmp_path),
        BOOKING_API_URL=booking_api.url,
        BACKEND_SERVICE_TOKEN="a-service-token",
        METRICS_TOKEN=METRICS_TOKEN,
    )
    async with running_crm(settings) as client:
        yield client


async def refused(crm: httpx.AsyncClient, dsn: str, booking_api: Receiver, status: int, **changes: int) -> str:
    """A webhook whose payment report the booking API answers so; its id."""
    booking_api.always(answer(status, NOT_FOUND))
    received = await crm.post("/webhook", json=PAID | changes)
    webhook_id: str = received.json()["webhook_id"]

    async def is_refused() -> bool:
        async with connected(dsn) as connection:
            query = "SELECT status = 'failed' FROM crm_booking_deliveries WHERE crm_booking_id = $1::text::uuid"
            return bool(await connection.fetchval(query, webhook_id))

    await until(is_refused)
    return webhook_id


async def listed(crm: httpx.AsyncClient, **query: str) -> list[Any]:
    response = await crm.get("/webhooks", params=query)
    assert response.status_code == 200, response.text
    found: list[Any] = response.json()["webhooks"]
    return found


async def test_webhook_that_names_another_booking_is_listed_counted_and_logged(
    crm: httpx.AsyncClient, dsn: str, booking_api: Receiver
) -> None:
    other = await refused(crm, dsn, booking_api, 409, booking_id=16)
    with structlog.testing.capture_logs() as lines:
        mismatch = await refused(crm, dsn, booking_api, 404)
    (line,) = [line for line in lines if line["event"] == "webhook_mismatch"]
    assert line["log_level"] == "warning"
    assert {name: line[name] for name in ("webhook_id", "booking_id", "user_id", "event_id")} == {
        "webhook_id": mismatch,
        "booking_id": 15,
        "user_id": 12,
        "event_id": 7,
    }
    assert [each["id"] for each in await listed(crm)] == [mismatch, other]
    assert [each["id"] for each in await listed(crm, deliveries="failed")] == [mismatch, other]
    (shown,) = await listed(crm, deliveries="mismatch")
    assert (shown["id"], shown["booking_id"], shown["user_id"], shown["event_id"]) == (mismatch, 15, 12, 7)
    (delivery,) = shown["deliveries"]
    assert (delivery["destination"], delivery["status"], delivery["mismatch"]) == ("payment", "failed", True)
    assert "Booking not found" in delivery["response"]
    found = await scraped(crm)
    assert found["convene_crm_webhooks_refused payment mismatch"] == 1
    assert found["convene_crm_webhooks_refused payment refused"] == 1
    assert found["convene_crm_webhooks_refused forward refused"] == 0


async def test_processed_webhook_is_not_counted_any_more(
    crm: httpx.AsyncClient, dsn: str, booking_api: Receiver
) -> None:
    webhook_id = await refused(crm, dsn, booking_api, 404)
    for _ in range(2):
        assert (await crm.post(f"/webhooks/{webhook_id}/process")).status_code == 200
    assert await listed(crm, deliveries="mismatch") == await listed(crm, deliveries="failed") == []
    (shown,) = await listed(crm)
    assert shown["deliveries"][0]["processed_at"] is not None
    assert (await scraped(crm))["convene_crm_webhooks_refused payment mismatch"] == 0


async def test_list_is_paged_and_protected(crm: httpx.AsyncClient, dsn: str, booking_api: Receiver) -> None:
    ids = [(await crm.post("/webhook", json=PAID)).json()["webhook_id"] for _ in range(3)]
    first = await crm.get("/webhooks", params={"limit": "2"})
    assert [each["id"] for each in first.json()["webhooks"]] == ids[:0:-1]
    assert first.json()["next_cursor"] == ids[1]
    last = await crm.get(first.links["next"]["url"])
    assert ([each["id"] for each in last.json()["webhooks"]], last.json()["next_cursor"]) == ([ids[0]], None)
    for query in ({"deliveries": "sent"}, {"cursor": "1"}, {"limit": "0"}, {"unknown": "1"}):
        assert (await crm.get("/webhooks", params=query)).status_code == 400
    for path in (f"/webhooks/{uuid4()}/process", "/webhooks/1/process"):
        assert (await crm.post(path)).status_code == 404
    assert (await crm.get("/webhooks", headers={"Authorization": "Bearer wrong"})).status_code == 401
