"""Events of facilitators in the CRM never return to an older version, also with late and repeated messages."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import httpx
import pytest

from crm.facilitator_events import REMEMBER_EVENT, remember_event
from crm.notifications import Notification, read_notification
from tests.crm.parts import MailServer, a_message, connected, until


def event_message(version: int | None, **event: Any) -> dict[str, Any]:
    """A booking's message; without a facilitator to mail, since mails are not what is looked at here."""
    state = {**a_message()["event"], "version": version, **event}
    return a_message(facilitator=..., event={name: value for name, value in state.items() if value is not None})


async def shown(crm: httpx.AsyncClient, facilitator: int = 2) -> list[dict[str, Any]]:
    answer = await crm.get(f"/api/facilitator/events/{facilitator}")
    assert answer.status_code == 200
    events: list[dict[str, Any]] = answer.json()
    return events


async def test_booking_updates_the_event(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=event_message(3))
    assert await shown(crm) == [
        {
            "id": 1,
            "title": "Morning Meditation",
            "date_time": "2026-12-01T09:00:00Z",
            "bookings_count": 3,
            "max_participants": 10,
            "is_active": True,
        }
    ]
    await crm.post("/notify", json=event_message(4, current_participants=4, title="Evening Meditation"))
    [event] = await shown(crm)
    assert (event["title"], event["bookings_count"]) == ("Evening Meditation", 4)


@pytest.mark.parametrize("action", ["event_created", "event_updated"])
async def test_event_change_is_stored_and_not_mailed(
    crm: httpx.AsyncClient, mail_server: MailServer, action: str
) -> None:
    body = a_message(action=action, booking_id=None, user=None, status=None, payment_status=None)
    answer = await crm.post("/notify", json=body)
    assert (answer.status_code, answer.json()["email_sent"]) == (200, False)
    assert [event["id"] for event in await shown(crm)] == [1]
    assert (await crm.get("/notifications")).json() == []
    [item] = (await crm.get("/notifications?include=events")).json()
    assert (item["action"], item["status"]) == (action, "skipped")
    assert mail_server.offered == 0


async def test_cancelled_event_is_not_active(crm: httpx.AsyncClient) -> None:
    cancelled = {**event_message(9, is_active=False), "action": "event_cancelled"}
    await crm.post("/notify", json=cancelled)
    await crm.post("/notify", json=event_message(8))
    assert [event["is_active"] for event in await shown(crm)] == [False]


async def test_stale_or_equal_version_changes_nothing(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=event_message(5, current_participants=5))
    for version in (1, 4, 5):
        answer = await crm.post("/notify", json=event_message(version, current_participants=9, title="Stale"))
        assert answer.status_code == 200
    [event] = await shown(crm)
    assert (event["title"], event["bookings_count"]) == ("Morning Meditation", 5)


async def test_message_without_version_does_not_overwrite_a_versioned_event(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=event_message(1))
    await crm.post("/notify", json=event_message(None, title="Hearsay"))
    assert (await shown(crm))[0]["title"] == "Morning Meditation"


async def test_without_counts_the_received_bookings_are_counted(crm: httpx.AsyncClient) -> None:
    """Contract A's own example names neither version nor numbers."""
    event = {"id": 1, "title": "Morning Meditation Session", "date_time": "2023-07-15T09:00:00Z"}
    user = {"id": 1, "name": "John Doe", "email": "john@example.com"}
    for booking_id in (1, 2, 2, 3):
        body = {"booking_id": booking_id, "user": user, "event": event, "facilitator_id": 1}
        assert (await crm.post("/notify", json=body)).is_success
    fallen = {"booking_id": 3, "user": user, "event": event, "facilitator_id": 1, "action": "booking_cancelled"}
    await crm.post("/notify", json=fallen)
    [shown_event] = await shown(crm, facilitator=1)
    assert (shown_event["bookings_count"], shown_event["max_participants"]) == (2, None)
    await crm.delete("/notifications/clear")
    assert (await shown(crm, facilitator=1))[0]["bookings_count"] == 2


@pytest.mark.parametrize("event", [{"id": "seven", "title": "x"}, {"title": "x"}, {"id": 0, "title": "x"}])
async def test_event_without_valid_id_is_stored_but_not_listed(
    crm: httpx.AsyncClient, event: dict[str, object]
) -> None:
    assert (await crm.post("/notify", json=a_message(event=event))).status_code == 200
    assert await shown(crm) == []


async def test_repeated_message_changes_nothing(crm: httpx.AsyncClient) -> None:
    for _ in range(2):
        await crm.post("/notify", json=event_message(3), headers={"Idempotency-Key": "m-3"})
    assert len(await shown(crm)) == 1


async def test_pages_of_events_are_linked(crm: httpx.AsyncClient) -> None:
    for number in range(1, 6):
        await crm.post("/notify", json=event_message(1, id=number))
    await crm.post("/notify", json={**event_message(1, id=9, facilitator_id=3), "facilitator_id": 3})
    seen, address = [], "/api/facilitator/events/2?limit=2"
    while address:
        answer = await crm.get(address)
        seen += [event["id"] for event in answer.json()]
        address = answer.links["next"]["url"] if "next" in answer.links else ""
    assert seen == [1, 2, 3, 4, 5]
    assert (await crm.get("/api/facilitator/events/2?limit=900")).status_code == 200


async def test_concurrent_messages_leave_the_newest_version(crm: httpx.AsyncClient) -> None:
    versions = list(range(1, 41))
    random.Random(7).shuffle(versions)
    answers = await asyncio.gather(
        *(crm.post("/notify", json=event_message(version, current_participants=version)) for version in versions)
    )
    assert {answer.status_code for answer in answers} == {200}
    assert [event["bookings_count"] for event in await shown(crm)] == [40]


Remember = Callable[[Any, Notification], Coroutine[Any, Any, None]]


async def _overtaken(dsn: str, remember: Remember) -> int:
    """The version known after a newer message commits while a stale one already waits for its row."""
    async with connected(dsn) as newer, connected(dsn) as stale, connected(dsn) as watch:
        await remember(newer, read_notification(event_message(1)))
        transaction = newer.transaction()
        await transaction.start()
        await remember(newer, read_notification(event_message(7)))
        late = asyncio.create_task(remember(stale, read_notification(event_message(6))))

        async def waits() -> bool:
            return bool(await watch.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(waits)
        await transaction.commit()
        await late
        return int(await watch.fetchval("SELECT version FROM facilitator_events"))


async def test_delayed_stale_message_changes_nothing(dsn: str) -> None:
    assert await _overtaken(dsn, remember_event) == 7


async def test_without_version_guard_the_stale_message_wins(dsn: str) -> None:
    without_guard, guard, _ = REMEMBER_EVENT.partition("WHERE known.version")
    assert guard
    assert await _overtaken(dsn, partial(remember_event, statement=without_guard)) == 6


async def test_without_atomic_version_check_the_stale_message_wins(dsn: str) -> None:
    without_guard = REMEMBER_EVENT.partition("WHERE known.version")[0]

    async def remember(connection: Any, notification: Notification) -> None:
        known = await connection.fetchval("SELECT version FROM facilitator_events")
        if known is None or known < notification.event.version:
            await remember_event(connection, notification, without_guard)

    assert await _overtaken(dsn, remember) == 6
