"""Coaching for tests: coaches on their terms, sessions with them."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from tests.support.people import Person


async def a_price_for(database_url: str, coach: str, price: int = 1500) -> None:
    """The coach is open at any time and costs so much an hour."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            """INSERT INTO coaches (user_id, timezone, weekly_hours, date_overrides, buffer_before, buffer_after,
                   minimum_notice, slot_step, price_per_hour, currency, refund_policy, updated_at)
               SELECT id, 'UTC', jsonb_object_agg(day, '[[0, 1440]]'::jsonb), '{}', '0', '0', '0', '30 minutes', $2,
                   'INR', '[]', now()
               FROM users, generate_series(0, 6) AS day WHERE uuid = $1 GROUP BY id""",
            UUID(coach),
            price,
        )
    finally:
        await connection.close()


async def uuid_of(person: Person) -> str:
    answer = await person.get("/profile")
    assert answer.status_code == 200, answer.text
    uuid: str = answer.json()["uuid"]
    return uuid


TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
"""Taken once, so that a test that runs over midnight has one day."""


def at(hour: int, minute: int = 0, *, in_days: int = 3) -> datetime:
    """That time on a day to come, in UTC."""
    return TODAY + timedelta(days=in_days, hours=hour, minutes=minute)


_hours = itertools.count()


def free_hour() -> datetime:
    """An hour between nine and five that no test was given yet."""
    number = next(_hours)
    return at(9 + number % 8, in_days=2 + number // 8)


def wanted(coach: str, begins: datetime, *, minutes: int = 60, **changes: Any) -> dict[str, Any]:
    """The body of a booking."""
    return {
        "coach_id": coach,
        "session_datetime": begins.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "duration_minutes": minutes,
    } | changes


async def in_status(status: str, client: Person, coach: Person, coach_uuid: str) -> str:
    """A free session that has come to that status, by its id."""
    booking = (await books(client, coach_uuid, free_hour()))["id"]
    way = {"pending": [], "confirmed": ["confirmed"], "completed": ["confirmed", "completed"]}
    for step in way.get(status, ["cancelled"]):
        answer = await coach.patch(f"/booking/{booking}/status", {"status": step})
        assert answer.status_code == 200, answer.text
    assert isinstance(booking, str)
    return booking


async def status_of(person: Person, booking: str) -> str:
    status: str = (await person.get(f"/booking/{booking}")).json()["status"]
    return status


async def promoted(person: Person, database: asyncpg.Connection) -> Person:
    """Them, as an admin from now on."""
    await database.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
    return person


async def books(client: Person, coach: str, begins: datetime, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/booking", json=wanted(coach, begins, **changes))
    assert answer.status_code == 201, answer.text
    booking: dict[str, Any] = answer.json()
    return booking
