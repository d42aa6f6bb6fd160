"""Recurring appointments over HTTP, and under concurrent requests."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.appointments import at, books, uuid_of, wanted
from tests.support.people import People, Person


@pytest.fixture
async def coach(shared_people: People) -> str:
    return await uuid_of(await shared_people.facilitator("Jane Smith"))


async def recurs(client: Person, coach: str, rule: str, **changes: Any) -> httpx.Response:
    body = wanted(coach, changes.pop("begins", at(10)), **changes)
    return await client.post("/booking/recurring", json=body | {"rrule": rule})


def starts(bookings: list[dict[str, Any]]) -> list[datetime]:
    return [datetime.fromisoformat(each["session_datetime"]) for each in bookings]


async def test_series_has_one_booking_per_occurrence(ada: Person, coach: str) -> None:
    answer = await recurs(ada, coach, "FREQ=WEEKLY;COUNT=3", notes="Every week")
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert starts(body["bookings"]) == [at(10) + timedelta(weeks=number) for number in range(3)]
    assert {each["series_id"] for each in body["bookings"]} == {body["series_id"]}
    assert {(each["status"], each["notes"]) for each in body["bookings"]} == {("pending", "Every week")}
    assert body["refused"] == []
    first = (await ada.get(f"/booking/{body['bookings'][0]['id']}")).json()
    assert first["series_id"] == body["series_id"]


async def test_series_is_booked_completely_or_not_at_all_with_refused_times(
    ada: Person, coach: str, shared_database: asyncpg.Connection
) -> None:
    await books(ada, coach, at(10) + timedelta(weeks=1))
    before = await shared_database.fetchval("SELECT count(*) FROM coaching_bookings")
    messages = await shared_database.fetchval("SELECT count(*) FROM outbox")
    answer = await recurs(ada, coach, "FREQ=WEEKLY;COUNT=3")
    moment = f"{at(10) + timedelta(weeks=1):%Y-%m-%dT%H:%M:%SZ}"
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"{moment}: Time slot is not available"
    assert answer.json()["details"] == {moment: "Time slot is not available"}
    assert answer.json()["code"] == "series_refused"
    assert await shared_database.fetchval("SELECT count(*) FROM coaching_bookings") == before
    assert await shared_database.fetchval("SELECT count(*) FROM outbox") == messages
    answer = await recurs(ada, coach, "FREQ=WEEKLY;COUNT=3", skip_conflicts=True)
    assert answer.status_code == 201
    assert starts(answer.json()["bookings"]) == [at(10), at(10) + timedelta(weeks=2)]
    assert answer.json()["refused"] == [{"session_datetime": moment, "reason": "Time slot is not available"}]


async def test_concurrent_series_share_no_time(ada: Person, shared_people: People, coach: str) -> None:
    other = await shared_people.user()
    answers = await asyncio.gather(
        *(recurs(who, coach, "FREQ=DAILY;COUNT=12", begins=at(10, half)) for who, half in ((ada, 0), (other, 30)) * 2)
    )
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400]


async def test_expensive_rule_is_rejected_over_http(ada: Person, coach: str) -> None:
    answer = await recurs(ada, coach, "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=3")
    assert (answer.status_code, answer.json()["detail"]) == (400, "rrule: Must recur that often within five years")
