"""A coach's sessions in figures: by the weeks of their own wall, for themselves and admins."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.appointments import uuid_of
from tests.support.people import People, Person

# Monday, 30 March 2026, begins at 22:00 UTC of the Sunday before in Berlin: on that Sunday clocks went forward.
SUNDAY = datetime(2026, 3, 29, tzinfo=UTC)
RANGE = {"start_date": "2026-03-23", "end_date": "2026-04-12T22:00:00Z"}

LAST = "9999-12-31"


@pytest.fixture
async def jane(shared_people: People) -> Person:
    jane = await shared_people.facilitator("Jane Smith")
    assert (await jane.put("/coach/availability", json={"timezone": "Europe/Berlin"})).status_code == 200
    return jane


async def had(
    database: asyncpg.Connection,
    client: Person,
    coach: Person,
    begins: datetime,
    status: str,
    *,
    paid: int = 0,
    back: int = 0,
) -> None:
    """A session of an hour and a half, paid with so much, of which so much was given back."""
    booking = await database.fetchval(
        """INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status,
               payment_status, price, currency, refund_policy, created_at, updated_at, cancelled_at)
           VALUES ($1, $2, $3, $4, $3, $4, $5, 'completed', $6, 'EUR', '[]', now(), now(),
               CASE WHEN $5 = 'cancelled' THEN now() END) RETURNING id""",
        client.id,
        coach.id,
        begins,
        begins + timedelta(minutes=90),
        status,
        paid,
    )
    if paid:
        await database.execute(
            """INSERT INTO payments (coaching_booking_id, gateway, amount, currency, status, created_at, received_at,
                   refunded)
               VALUES ($1, 'offline', $2, 'EUR', 'completed', now(), now(), $3)""",
            booking,
            paid,
            back,
        )


async def figures(who: Person, coach: str, **query: str) -> dict[str, Any]:
    answer = await who.get(f"/booking/coach/{coach}/analytics", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_statistics_by_week(
    ada: Person, jane: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    grace = await shared_people.user("Grace Hopper")
    await had(shared_database, ada, jane, SUNDAY + timedelta(hours=21), "completed", paid=100)
    await had(shared_database, ada, jane, SUNDAY + timedelta(hours=22, minutes=30), "confirmed", paid=80, back=30)
    await had(shared_database, grace, jane, SUNDAY + timedelta(days=1), "completed")
    await had(shared_database, grace, jane, SUNDAY + timedelta(days=2), "cancelled", paid=40, back=40)
    await had(shared_database, grace, jane, SUNDAY + timedelta(days=15), "completed", paid=1000)
    coach = await uuid_of(jane)
    assert await figures(jane, coach, **RANGE) == {
        "coach_id": coach,
        "bookings": 3,
        "booked_hours": 4.5,
        "completed": 2,
        "cancelled": 1,
        "cancellation_rate": 0.25,
        "clients": 2,
        "revenue": {"EUR": 150.0},
        "weeks": [
            {"week": "2026-03-23", "bookings": 1, "booked_hours": 1.5, "completed": 1, "cancelled": 0},
            {"week": "2026-03-30", "bookings": 2, "booked_hours": 3.0, "completed": 1, "cancelled": 1},
            {"week": "2026-04-06", "bookings": 0, "booked_hours": 0.0, "completed": 0, "cancelled": 0},
        ],
    }


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"start_date": "2026-01-02", "end_date": "2026-01-01"}, "End date must be after start date"),
        ({"start_date": "2024-01-01", "end_date": "2026-01-01"}, "Date range cannot exceed 371 days"),
        ({"end_date": "0001-01-01"}, "end_date: Must be between 1970-01-01 and 2099-12-31"),
        (
            {"start_date": "9999-12-31", "end_date": "9999-12-31"},
            "start_date: Must be between 1970-01-01 and 2099-12-31",
        ),
        ({"start_date": "soon"}, "start_date: Must be a date or an RFC 3339 date and time"),
    ],
)
async def test_invalid_ranges_are_rejected(jane: Person, query: dict[str, str], sentence: str) -> None:
    answer = await jane.get(f"/booking/coach/{await uuid_of(jane)}/analytics", params=query)
    assert (answer.status_code, answer.json()["detail"]) == (400, sentence)
