"""Contract D on the CRM: the webhook, and what becomes of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.crm.parts import TOKEN, connected, running_crm, settings_for, until
from tests.support.people import Person
from tests.support.receivers import Receiver, receiving
from tests.support.shapes import Uuid, misfits

SECRET = "a-webhook-secret"
EXAMPLE = {
    "booking_id": 15,
    "user": {"name": "Alice", "email": "alice@example.com"},
    "event": 7,
    "facilitator_id": 3,
}
RECEIVED = {
    "status": "success",
    "message": "Webhook received",
    "webhook_id": Uuid,
    "forwarding": True,
    "reporting_payment": False,
}


@pytest.fixture
async def other_server() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def hooked(
    dsn: str, tmp_path: Path, other_server: Receiver, shared_api: httpx.AsyncClient
) -> AsyncIterator[httpx.AsyncClient]:
    """The CRM of document D beside the booking API; the client holds the webhook's secret."""
    settings = settings_for(
        dsn,
        CONVENE_DATA=str(tmp_path),
        CRM_WEBHOOK_SECRET=SECRET,
        FORWARD_FLASK_URL=f"{other_server.url}/receive",
        FORWARD_FLASK_TOKEN="a-forward-token",
        BOOKING_API_URL=str(shared_api.base_url),
        BACKEND_SERVICE_TOKEN="a-service-token-of-the-tests",
    )
    async with running_crm(settings) as client:
        client.headers["Authorization"] = f"Bearer {SECRET}"
        yield client


def refused(sentence: str, code: str, **more: Any) -> dict[str, Any]:
    return {"error": sentence, "code": code, "request_id": str} | more


async def test_webhook_is_received_stored_and_forwarded(
    hooked: httpx.AsyncClient, dsn: str, other_server: Receiver
) -> None:
    answer = await hooked.post("/webhook", json=EXAMPLE)
    assert (answer.status_code, misfits(RECEIVED, answer.json())) == (200, [])
    async with connected(dsn) as connection:
        stored = await connection.fetchrow("SELECT booking_id, user_email, event_id, facilitator_id FROM crm_bookings")
    assert tuple(stored) == (15, "alice@example.com", 7, 3)
    await until(lambda: other_server.requests)
    [request] = other_server.requests
    assert (request.path, request.json) == ("/receive", EXAMPLE)
    assert request.headers["authorization"] == "Bearer a-forward-token"


async def test_webhook_marks_a_booking_as_paid_once(
    hooked: httpx.AsyncClient, dsn: str, ada: Person, john: Person
) -> None:
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    paid = {**EXAMPLE, "booking_id": booking["id"], "user_id": ada.id, "event_id": event["id"], "event": event["id"]}
    for _ in range(2):
        answer = await hooked.post("/webhook", json=paid | {"payment_status": "paid"})
        assert misfits(RECEIVED | {"reporting_payment": True}, answer.json()) == []

    async def reported() -> bool:
        async with connected(dsn) as connection:
            done = "SELECT count(*) FROM crm_booking_deliveries WHERE destination = 'payment' AND status = 'sent'"
            return bool(await connection.fetchval(done) == 2)

    await until(reported)
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["payment_status"] == "completed"


async def test_payment_for_the_booking_of_another_user_is_rejected_and_not_retried(
    hooked: httpx.AsyncClient, dsn: str, ada: Person, john: Person
) -> None:
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    wrong = {"booking_id": booking["id"], "user_id": john.id, "event_id": event["id"], "payment_status": "paid"}
    assert (await hooked.post("/webhook", json=wrong)).status_code == 200

    async def given_up() -> Any:
        async with connected(dsn) as connection:
            return await connection.fetchval("SELECT response FROM crm_booking_deliveries WHERE status = 'failed'")

    await until(given_up)
    assert "Booking not found" in await given_up()
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["payment_status"] == "pending"


@pytest.mark.parametrize("field", ["booking_id", "user", "event", "facilitator_id"])
async def test_missing_required_field_returns_400(
    hooked: httpx.AsyncClient, other_server: Receiver, field: str
) -> None:
    answer = await hooked.post("/webhook", json={name: value for name, value in EXAMPLE.items() if name != field})
    expected = refused("Missing required fields", "missing_fields", missing_fields=[str])
    assert (answer.status_code, misfits(expected, answer.json())) == (400, [])
    assert answer.json()["missing_fields"] == [field]
    assert other_server.requests == []


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", f"Bearer {TOKEN}", SECRET])
async def test_missing_or_wrong_webhook_secret_returns_403(hooked: httpx.AsyncClient, authorization: str) -> None:
    answer = await hooked.post("/webhook", json=EXAMPLE, headers={"Authorization": authorization})
    assert answer.status_code == 403
    assert misfits(refused("Invalid or missing token", "invalid_token"), answer.json()) == []


async def test_webhook_secret_defaults_to_the_crm_token(crm: httpx.AsyncClient) -> None:
    answer = await crm.post("/webhook", json=EXAMPLE)
    assert (answer.status_code, answer.json()["forwarding"]) == (200, False)
    assert (await crm.post("/webhook", json=EXAMPLE, headers={"Authorization": "Bearer wrong"})).status_code == 403


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
