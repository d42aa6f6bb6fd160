"""Recurring sessions over HTTP: the same time on the wall, all or none, and no rule takes long."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest

from domain.appointments import MAX_OCCURRENCES
from domain.errors import Invalid
from infrastructure.recurrence_rules import RecurrenceRules
from tests.support.appointments import a_price_for, at, books, uuid_of, wanted
from tests.support.people import People, Person

BERLIN = ZoneInfo("Europe/Berlin")


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


async def test_skip_conflicts_books_the_free_times(ada: Person, coach: str) -> None:
    await books(ada, coach, at(10) + timedelta(weeks=1))
    answer = await recurs(ada, coach, "FREQ=WEEKLY;COUNT=3", skip_conflicts=True)
    assert answer.status_code == 201
    assert starts(answer.json()["bookings"]) == [at(10), at(10) + timedelta(weeks=2)]
    assert [each["reason"] for each in answer.json()["refused"]] == ["Time slot is not available"]
    again = await recurs(ada, coach, "FREQ=WEEKLY;COUNT=3", skip_conflicts=True)
    assert (again.status_code, len(again.json()["details"])) == (400, 3)


async def test_each_appointment_of_a_series_has_its_own_payment(
    ada: Person, coach: str, shared_database_url: str, shared_database: asyncpg.Connection
) -> None:
    await a_price_for(shared_database_url, coach)
    body = (await recurs(ada, coach, "FREQ=DAILY;COUNT=3")).json()
    paid = await shared_database.fetch(
        """SELECT p.amount FROM payments p JOIN coaching_bookings b ON b.id = p.coaching_booking_id
           WHERE b.series_id = $1::text::uuid AND p.gateway_payment_id IS NULL""",
        body["series_id"],
    )
    assert [row["amount"] for row in paid] == [1500] * 3


async def test_series_in_another_zone_skips_weeks_with_another_offset(ada: Person, shared_people: People) -> None:
    """Eleven in New York is five in Berlin, when its coach goes home; between the changes of the clocks it is four."""
    host = await shared_people.facilitator()
    assert (await host.put("/coach/availability", json={"timezone": "Europe/Berlin"})).status_code == 200
    new_york = ZoneInfo("America/New_York")
    begins = datetime(datetime.now(UTC).year + 1, 2, 1, 11, tzinfo=new_york)
    days = [begins + timedelta(weeks=number) for number in range(12)]  # the same time on the wall
    closer = [day for day in days if day.astimezone(BERLIN).hour == 16]
    assert 0 < len(closer) < 4
    answer = await recurs(
        ada,
        await uuid_of(host),
        "FREQ=WEEKLY;COUNT=12",
        begins=begins.astimezone(UTC),
        timezone="America/New_York",
        skip_conflicts=True,
    )
    assert answer.status_code == 201, answer.text
    assert starts(answer.json()["bookings"]) == closer
    refused = [datetime.fromisoformat(each["session_datetime"]) for each in answer.json()["refused"]]
    assert refused == [day for day in days if day not in closer]


async def test_series_has_at_most_52_appointments(ada: Person, coach: str) -> None:
    assert (await recurs(ada, coach, "FREQ=DAILY;COUNT=53")).status_code == 400
    answer = await recurs(ada, coach, "FREQ=DAILY;COUNT=52")
    assert (answer.status_code, len(answer.json()["bookings"])) == (201, MAX_OCCURRENCES)


async def test_concurrent_series_share_no_time(ada: Person, shared_people: People, coach: str) -> None:
    other = await shared_people.user()
    answers = await asyncio.gather(
        *(recurs(who, coach, "FREQ=DAILY;COUNT=12", begins=at(10, half)) for who, half in ((ada, 0), (other, 30)) * 2)
    )
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400]


@pytest.mark.parametrize(
    ("changes", "status", "sentence"),
    [
        ({"timezone": "Mars"}, 400, "timezone: Must be an IANA time zone such as Europe/Berlin"),
        ({"minutes": 10}, 400, "duration_minutes: Must be between 15 and 480"),
        ({"begins": at(10, in_days=-3)}, 400, "Session must be scheduled in the future"),
        ({"coach_id": "019bb1c6-5a00-7000-8000-000000000009"}, 404, "Coach not found"),
        ({"notes": "x" * 100_000}, 413, "Request body is larger than 64 KiB"),
    ],
)
async def test_invalid_series_is_rejected(
    ada: Person, coach: str, changes: dict[str, Any], status: int, sentence: str
) -> None:
    answer = await recurs(ada, coach, "FREQ=WEEKLY;COUNT=3", **changes)
    assert (answer.status_code, answer.json()["detail"]) == (status, sentence)


async def test_only_clients_book_series(john: Person, coach: str) -> None:
    answer = await recurs(john, coach, "FREQ=WEEKLY;COUNT=3")
    assert (answer.status_code, answer.json()["detail"]) == (403, "Only clients can create bookings")


# The rules themselves

FIRST = datetime(2026, 10, 12, 8, tzinfo=UTC)
"""Monday, 10 o'clock in Berlin."""


def days(rule: str, first: datetime = FIRST, zone: ZoneInfo = BERLIN) -> list[str]:
    found = RecurrenceRules().occurrences(rule, first, zone, at_most=MAX_OCCURRENCES)
    return [f"{each.astimezone(zone):%y%m%d %H:%M %z}" for each in found]


def test_local_time_stays_when_clocks_change() -> None:
    autumn = ["261012 10:00 +0200", "261019 10:00 +0200", "261026 10:00 +0100", "261102 10:00 +0100"]
    assert days("FREQ=WEEKLY;COUNT=4") == autumn
    assert days("RRULE:FREQ=WEEKLY;UNTIL=20261102") == autumn
    assert days("FREQ=WEEKLY;UNTIL=20261102T085959Z") == autumn[:3]
    assert days("FREQ=WEEKLY;UNTIL=20261102T090000Z") == autumn


def test_skipped_local_time_is_later_and_repeated_one_is_the_first() -> None:
    spring = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    assert days("FREQ=DAILY;COUNT=3", spring) == ["260328 02:30 +0100", "260329 03:30 +0200", "260330 02:30 +0200"]
    autumn = datetime(2026, 10, 24, 0, 30, tzinfo=UTC)
    assert days("FREQ=DAILY;COUNT=2", autumn) == ["261024 02:30 +0200", "261025 02:30 +0200"]
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert days("FREQ=DAILY;COUNT=2", second) == ["261025 02:30 +0100", "261026 02:30 +0100"]


def test_months_without_the_day_are_skipped() -> None:
    last = datetime(2027, 1, 31, 9, tzinfo=UTC)
    assert days("FREQ=MONTHLY;COUNT=3", last) == ["270131 10:00 +0100", "270331 10:00 +0200", "270531 10:00 +0200"]
    leap = datetime(2028, 2, 29, 9, tzinfo=UTC)
    assert days("FREQ=YEARLY;COUNT=2", leap, BERLIN) == ["280229 10:00 +0100", "320229 10:00 +0100"]


def test_weekdays_are_those_of_the_actual_years() -> None:
    for year in range(2024, 2090):
        first = datetime(year, 1, 1, 9, tzinfo=UTC)
        found = days("FREQ=MONTHLY;BYDAY=2TU;COUNT=40", first, ZoneInfo("UTC"))
        for each in found:
            day = datetime.strptime(each[:6], "%y%m%d").replace(tzinfo=UTC)
            assert day.replace(year=year // 100 * 100 + day.year % 100).weekday() == 1
            assert 8 <= day.day <= 14
        assert len(found) == 40
        assert found[1][2:4] == "02"


NASTY = [
    "",
    "weekly",
    "FREQ=SECONDLY;COUNT=5",
    "FREQ=MINUTELY;COUNT=5",
    "FREQ=HOURLY;COUNT=5",
    "FREQ=DAILY",
    "FREQ=DAILY;COUNT=0",
    "FREQ=DAILY;COUNT=1000000000",
    "FREQ=DAILY;COUNT=3;UNTIL=20270101",
    "FREQ=DAILY;UNTIL=20270101",
    "FREQ=WEEKLY;UNTIL=20400101",
    "FREQ=WEEKLY;UNTIL=20200101",
    "FREQ=WEEKLY;UNTIL=20269999",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=3",
    "FREQ=DAILY;BYYEARDAY=9999;COUNT=1",
    "FREQ=DAILY;BYWEEKNO=99;COUNT=1",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=3",
    "FREQ=YEARLY;INTERVAL=999;COUNT=2",
    "FREQ=DAILY;INTERVAL=1000000000;COUNT=2",
    "FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=1,2,3;BYSECOND=1,2,3;COUNT=2",
    "FREQ=YEARLY;BYEASTER=1;COUNT=2",
    "FREQ=DAILY;COUNT=2;COUNT=3",
    "FREQ=WEEKLY;BYDAY=XX;COUNT=2",
    "FREQ=MONTHLY;BYDAY=99999999999999999999MO;COUNT=2",
    "FREQ=DAILY;BYMONTHDAY=" + "9" * 400 + ";COUNT=1",
    "FREQ=YEARLY;BYDAY=" + ",".join(["MO"] * 3000) + ";COUNT=2",
    "X" * 10_000,
    "FREQ=DAILY;COUNT=2\nEXDATE:20261012T100000",
    "DTSTART:19700101T000000\nRRULE:FREQ=DAILY;COUNT=2",
    "FREQ=DAILY;COUNT=٣",
]


@pytest.mark.parametrize("rule", NASTY)
def test_expensive_rule_is_rejected(rule: str) -> None:
    with pytest.raises(Invalid) as refused:
        days(rule)
    assert set(refused.value.details) == {"rrule"}


async def test_expensive_rule_is_rejected_over_http(ada: Person, coach: str) -> None:
    answer = await recurs(ada, coach, "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=3")
    assert (answer.status_code, answer.json()["detail"]) == (400, "rrule: Must recur that often within five years")
