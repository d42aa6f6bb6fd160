"""Messages for tests: as a sender gets them, and as rows of the outbox."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from application.outbox.delivery import DeliverMessages
from domain.outbox import Destination, Message, MessageId, MessageType
from infrastructure.postgres.outbox import claims
from interfaces.workers.delivery import DestinationQueue

EXPIRE_LEASES = "UPDATE outbox SET due_at = now() WHERE claimed_by IS NOT NULL"
"""Instead of a wait for the end of the leases; test_workers_killed waits."""


def a_payload(**changes: Any) -> dict[str, Any]:
    """As the database writes it. A dict is laid over that part; anything else replaces it."""
    payload: dict[str, Any] = {
        "booking": {
            "id": 12,
            "reference": "BK2026000012",
            "status": "confirmed",
            "payment_status": "completed",
            "notes": "Beginner level",
            "created_at": "2026-11-20T13:08:10.123456+00:00",
            "cancelled_at": None,
            "hold_until": None,
        },
        "user": {"id": 3, "name": "Ada Lovelace", "email": "ada@example.com"},
        "event": {
            "id": 7,
            "title": "Morning Yoga",
            "description": "Slow and steady",
            "event_type": "session",
            "category": "Yoga",
            "starts_at": "2026-12-01T10:00:00+00:00",
            "ends_at": "2026-12-01T11:30:00+00:00",
            "location": "Studio B",
            "virtual_link": "https://meet.example.com/abc",
            "capacity": 15,
            "booked": 4,
            "price": "30.5000",
            "currency": "INR",
            "status": "active",
            "revision": 2,
            "version": 5,
        },
        "facilitator": {"id": 9, "name": "John Facilitator", "email": "john@example.com"},
        "reason": None,
        "money": None,
        "payment": None,
        "before": None,
    }
    for part, change in changes.items():
        payload[part] = (payload[part] or {}) | change if isinstance(change, dict) else change
    return payload


def a_message(
    message_type: MessageType = MessageType.BOOKING_CREATED,
    *,
    destination: Destination = Destination.CRM,
    **payload: Any,
) -> Message:
    return Message(
        id=MessageId(UUID("01a0b1c2-d3e4-7f50-8a6b-7c8d9e0f1a2b")),
        destination=destination,
        ordering_key="booking:12",
        message_type=message_type,
        payload=a_payload(**payload),
        attempt=1,
        occurred_at=datetime(2026, 11, 20, 13, 8, 10, 123456, tzinfo=UTC),
        request_id="req-1",
    )


SESSION = "019bb1c6-5a00-7000-8000-000000000001"


def a_coaching_message(message_type: MessageType, recipient: str | None = "client", **payload: Any) -> Message:
    """About Ada's session with Mira, who is in Berlin while Ada is in New York. A dict is laid over that part."""
    then: dict[str, Any] = {
        "coaching": {
            "id": SESSION,
            "status": "pending",
            "payment_status": "not_required",
            "starts_at": "2026-12-01T10:00:00+00:00",
            "ends_at": "2026-12-01T11:00:00+00:00",
            "price": "0.0000",
            "currency": "INR",
            "notes": "Career",
            "meeting_link": None,
            "series_id": None,
            "sequence": 0,
            "hold_until": None,
            "created_at": "2026-11-20T13:08:10+00:00",
        },
        "client": {
            "id": 3,
            "uuid": "019bb1c6-5a00-7000-8000-000000000003",
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "timezone": "America/New_York",
        },
        "coach": {
            "id": 9,
            "uuid": "019bb1c6-5a00-7000-8000-000000000009",
            "name": "Mira Sol",
            "email": "mira@example.com",
            "timezone": "Europe/Berlin",
        },
        "recipient": recipient,
        "before": None,
        "reason": None,
        "money": None,
        "payment": None,
    }
    for part, change in payload.items():
        then[part] = (then.get(part) or {}) | change if isinstance(change, dict) else change
    return replace(
        a_message(message_type, destination=Destination.EMAIL),
        payload=then,
        ordering_key=f"coaching:{SESSION}:{recipient}",
    )


async def add_message(
    database: asyncpg.Connection,
    *,
    ordering_key: str | None = None,
    message_type: str = "booking_created",
    destination: str = "crm",
    **payload: Any,
) -> UUID:
    """A row of the outbox that is due now, with its own ordering key unless one is given."""
    message_id: UUID = await database.fetchval(
        """INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at, request_id)
           VALUES ($1, $2, $3, $4, now(), 'req-1') RETURNING id""",
        *(destination, ordering_key or f"booking:{uuid4()}", message_type, json.dumps(a_payload(**payload))),
    )
    return message_id


@dataclass(frozen=True)
class _CountingQueue(DestinationQueue):
    claimed: list[Message] = field(default_factory=list)

    async def claim(self, limit: int) -> Sequence[Message]:
        found = await super().claim(limit)
        self.claimed.extend(found)
        return found


async def deliver_due(deliver: DeliverMessages, destination: Destination) -> None:
    """Delivers as a worker does, until nothing is due for the destination, also nothing that the deliveries made due:
    a worker is notified of it."""
    queue = _CountingQueue(deliver, destination)
    consumer = queue.consumer()
    while True:
        queue.claimed.clear()
        await consumer.run_until_idle()
        if not queue.claimed:
            return


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 90) -> None:
    """Returns once it holds; the limit only keeps a broken test from hanging. It looks less often the longer it waits:
    a look is often a statement over a connection of its own."""
    pause = 0.01
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.1, 0.1)


def spend_attempts_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the guard out of settling: an attempt that was no attempt costs the message one of its tries."""
    not_counted, spent = (f"CASE WHEN own.uncounted THEN attempts{less} ELSE attempts END" for less in (" - 1", ""))
    assert not_counted in claims._RECORD, "the settling has another shape now: take its guard out here as well"
    monkeypatch.setattr(claims, "_RECORD", claims._RECORD.replace(not_counted, spent))
