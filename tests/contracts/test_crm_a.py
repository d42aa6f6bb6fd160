"""Contract A on the CRM, walked in the document's order."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.crm.parts import a_message, running_crm, settings_for
from tests.support.shapes import misfits

BOOKING = {
    "booking_id": 1,
    "user": {"id": 1, "name": "John Doe", "email": "john@example.com"},
    "event": {"id": 1, "title": "Morning Meditation Session", "date_time": "2023-07-15T09:00:00Z"},
    "facilitator_id": 1,
}
NOTIFICATION = {
    "id": 1,
    "booking_id": 1,
    "user_name": "John Doe",
    "user_email": "john@example.com",
    "event_title": "Morning Meditation Session",
    "event_date": "2023-07-15T09:00:00Z",
    "facilitator_id": 1,
    "received_at": str,
    "processed": False,
}


def refused(phrase: str, sentence: str, code: str, **more: Any) -> dict[str, Any]:
    return {"error": phrase, "message": sentence, "code": code, "request_id": str} | more


UNAUTHORIZED = refused("Unauthorized", "Invalid or missing token", "invalid_token")
NOT_FOUND = refused("Not Found", "The requested resource was not found", "not_found")

ENDPOINTS = [
    ("POST", "/notify"),
    ("GET", "/notifications"),
    ("POST", "/notifications/1/process"),
    ("GET", "/api/facilitator/events/1"),
]


async def test_booking_notification_is_received(crm: httpx.AsyncClient) -> None:
    answer = await crm.post("/notify", json=BOOKING)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    shape = {"status": "success", "message": "Booking notification received and processed", "notification_id": 1}
    assert misfits(shape, answer.json()) == []


@pytest.mark.parametrize("field", ["booking_id", "user", "event"])
async def test_missing_field_returns_400_with_its_name(crm: httpx.AsyncClient, field: str) -> None:
    answer = await crm.post("/notify", json={name: value for name, value in BOOKING.items() if name != field})
    expected = refused(
        "Missing required fields", f"Missing required field: {field}", "missing_fields", missing_fields=[field]
    )
    assert (answer.status_code, misfits(expected, answer.json())) == (400, [])


async def test_notifications_are_an_array_by_default(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=BOOKING)
    answer = await crm.get("/notifications")
    assert (answer.status_code, misfits([NOTIFICATION], answer.json())) == (200, [])
    assert len(answer.json()) == 1
    assert answer.json()[0]["received_at"].endswith("Z")


async def test_notifications_in_an_envelope_have_the_same_items(dsn: str, tmp_path: Path) -> None:
    settings = settings_for(dsn, CONVENE_DATA=str(tmp_path), CRM_NOTIFICATIONS_SHAPE="envelope")
    async with running_crm(settings) as client:
        await client.post("/notify", json=BOOKING)
        answer = (await client.get("/notifications")).json()
    assert misfits({"notifications": [NOTIFICATION]}, answer) == []
    assert len(answer["notifications"]) == 1


async def test_event_messages_are_not_in_the_default_list(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=a_message(action="event_created", booking_id=None, user=None))
    assert (await crm.get("/notifications")).json() == []


async def test_notification_is_marked_as_processed(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=BOOKING)
    answer = await crm.post("/notifications/1/process")
    assert answer.status_code == 200
    assert answer.json() == {"status": "success", "message": "Notification marked as processed"}
    assert misfits([NOTIFICATION | {"processed": True}], (await crm.get("/notifications")).json()) == []


@pytest.mark.parametrize("number", ["2", "0", "-1", "01", "+1", "1_0", "abc", "%D9%A1", "9223372036854775808"])
async def test_unknown_notification_returns_404(crm: httpx.AsyncClient, number: str) -> None:
    await crm.post("/notify", json=BOOKING)
    answer = await crm.post(f"/notifications/{number}/process")
    assert (answer.status_code, misfits(NOT_FOUND, answer.json())) == (404, [])


async def test_events_of_a_facilitator(crm: httpx.AsyncClient) -> None:
    event = BOOKING["event"] | {"max_participants": 15, "current_participants": 3, "version": 4, "is_active": True}  # type: ignore[operator]
    await crm.post("/notify", json=BOOKING | {"event": event})
    answer = await crm.get("/api/facilitator/events/1")
    assert answer.status_code == 200
    assert answer.json() == [
        {
            "id": 1,
            "title": "Morning Meditation Session",
            "date_time": "2023-07-15T09:00:00Z",
            "bookings_count": 3,
            "max_participants": 15,
            "is_active": True,
        }
    ]


async def test_unknown_facilitator_has_no_events(crm: httpx.AsyncClient) -> None:
    answer = await crm.get("/api/facilitator/events/77")
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize("number", ["0", "-1", "abc", "9223372036854775808"])
async def test_invalid_facilitator_id_returns_404(crm: httpx.AsyncClient, number: str) -> None:
    answer = await crm.get(f"/api/facilitator/events/{number}")
    assert (answer.status_code, misfits(NOT_FOUND, answer.json())) == (404, [])


@pytest.mark.parametrize("authorization", [None, "Bearer wrong"])
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_missing_or_invalid_token_returns_401(
    refusing_crm: httpx.AsyncClient, method: str, path: str, authorization: str | None
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with httpx.AsyncClient(base_url=refusing_crm.base_url, headers=headers) as stranger:
        answer = await stranger.request(method, path, json=BOOKING if path == "/notify" else None)
    assert (answer.status_code, misfits(UNAUTHORIZED, answer.json())) == (401, [])
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_unknown_path_returns_404(crm: httpx.AsyncClient) -> None:
    answer = await crm.get("/nowhere")
    assert (answer.status_code, misfits(NOT_FOUND, answer.json())) == (404, [])


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
