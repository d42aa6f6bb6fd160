"""Contract E: a coach's available slots, as the document says it, and what coaches say of their time."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from domain.availability import Availability
from tests.contracts.documents import uncalled
from tests.support.appointments import at, books, uuid_of, wanted
from tests.support.people import People, Person

OUT_OF_RANGE = "Must be between 1970-01-01 and 2099-12-31"


@pytest.fixture
def api(shared_api: httpx.AsyncClient) -> httpx.AsyncClient:
    """Every test has a coach of its own, so they need not have servers of their own."""
    return shared_api


@pytest.fixture
def people(shared_people: People) -> People:
    return shared_people


@pytest.fixture
async def jane(people: People) -> Person:
    """A coach."""
    return await people.facilitator("Jane Smith")


@pytest.fixture
async def coach(jane: Person) -> str:
    return await uuid_of(jane)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def slots(api: httpx.AsyncClient, coach: str, **query: Any) -> httpx.Response:
    day = {"start_date": stamp(at(0)), "end_date": stamp(at(0, in_days=4))}
    return await api.get(f"/booking/coach/{coach}/availability", params=day | query)


async def starts(api: httpx.AsyncClient, coach: str, **query: Any) -> list[str]:
    answer = await slots(api, coach, **query)
    assert answer.status_code == 200, answer.text
    return [slot["start"][11:16] for slot in answer.json()["available_slots"]]


async def configure(coach: Person, **said: Any) -> dict[str, Any]:
    answer = await coach.put("/coach/availability", json=said)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def every_day(*hours: tuple[str, str]) -> dict[str, Any]:
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    return {day: [{"start": start, "end": end} for start, end in hours] for day in days}


async def test_slots_match_the_document_and_need_no_login(api: httpx.AsyncClient, coach: str) -> None:
    answer = await slots(api, coach)
    assert answer.status_code == 200
    body = answer.json()
    assert body["coach_id"] == coach
    assert body["available_slots"][0] == {"start": stamp(at(9)), "end": stamp(at(10)), "duration_minutes": 60}
    assert body["available_slots"][-1]["end"] == stamp(at(17))
    assert await starts(api, coach, duration_minutes=480) == ["09:00"]


@pytest.mark.parametrize("end", ["23:59", "24:00", "00:00"])
async def test_last_slot_of_a_day_is_offered(api: httpx.AsyncClient, coach: str, jane: Person, end: str) -> None:
    said = await configure(jane, weekly_hours=every_day(("21:00", end)), slot_step_minutes=60)
    assert said["weekly_hours"]["monday"] == [{"start": "21:00", "end": "23:59" if end == "23:59" else "24:00"}]
    assert await starts(api, coach, end_date=stamp(at(0, in_days=4))) == ["21:00", "22:00", "23:00"]
    override = {at(0).date().isoformat(): [{"start": "22:30", "end": end}]}
    assert (await configure(jane, date_overrides=override))["date_overrides"].keys() == override.keys()
    assert await starts(api, coach) == ["22:30"]


@pytest.mark.parametrize("last", ["23:59:59", "23:59:00", "23:59:59.999"])
async def test_range_until_the_last_minute_of_a_day_contains_its_last_slot(
    api: httpx.AsyncClient, coach: str, jane: Person, last: str
) -> None:
    await configure(jane, weekly_hours=every_day(("21:00", "24:00")), slot_step_minutes=60)
    day = at(0).date().isoformat()
    assert await starts(api, coach, end_date=f"{day}T{last}Z") == ["21:00", "22:00", "23:00"]
    # The end of a day is that of the offset it is given in.
    assert await starts(api, coach, end_date=f"{day}T{last}+01:00") == ["21:00", "22:00"]
    thirty_days = {"start_date": stamp(at(0)), "end_date": stamp(at(23, 59, in_days=32))}
    assert len(await starts(api, coach, **thirty_days)) == 90


async def test_date_means_its_first_instant_and_plus_need_not_be_encoded(api: httpx.AsyncClient, coach: str) -> None:
    day, following = at(0).date().isoformat(), at(0, in_days=4).date().isoformat()
    whole = await starts(api, coach)
    assert await starts(api, coach, start_date=day, end_date=following) == whole
    path = f"/booking/coach/{coach}/availability?start_date={day}T05:30:00+05:30&end_date={following}T00:00:00-00:00"
    answer = await api.get(path)
    assert [slot["start"][11:16] for slot in answer.json()["available_slots"]] == whole


LATER = stamp(at(0) + timedelta(days=31))


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"end_date": stamp(at(0))}, "End date must be after start date"),
        ({"end_date": stamp(at(0, in_days=2))}, "End date must be after start date"),
        ({"end_date": LATER}, "Date range cannot exceed 30 days"),
        ({"duration_minutes": 14}, "duration_minutes: Must be between 15 and 480"),
        ({"duration_minutes": 481}, "duration_minutes: Must be between 15 and 480"),
        ({"duration_minutes": 10**30}, "duration_minutes: Must be a positive whole number"),
        ({"duration_minutes": "an hour"}, "duration_minutes: Must be a positive whole number"),
        ({"start_date": "today"}, "start_date: Must be a date or an RFC 3339 date and time"),
        ({"start_date": "2026-02-30"}, "start_date: Must be a date or an RFC 3339 date and time"),
        (
            {"start_date": "0001-01-01", "end_date": "0001-01-02"},
            f"start_date: {OUT_OF_RANGE}",
        ),
        (
            {"start_date": "9999-12-30", "end_date": "9999-12-31"},
            f"start_date: {OUT_OF_RANGE}",
        ),
        ({"start_date": "0001-01-01T00:00:00+23:59"}, f"start_date: {OUT_OF_RANGE}"),
    ],
)
async def test_invalid_ranges_are_rejected(
    api: httpx.AsyncClient, coach: str, query: dict[str, Any], sentence: str
) -> None:
    answer = await slots(api, coach, **query)
    assert (answer.status_code, answer.json()["detail"]) == (400, sentence)


async def test_range_without_an_end_is_rejected(api: httpx.AsyncClient, coach: str) -> None:
    answer = await api.get(f"/booking/coach/{coach}/availability", params={"start_date": "2026-01-01"})
    assert answer.status_code == 400
    assert "end_date" in answer.json()["detail"]


async def test_range_of_thirty_days_is_accepted(api: httpx.AsyncClient, coach: str) -> None:
    answer = await slots(api, coach, end_date=stamp(at(0) + timedelta(days=30)))
    assert len(answer.json()["available_slots"]) == 30 * 15


async def test_slots_are_computed_outside_the_event_loop_thread(
    api: httpx.AsyncClient, coach: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month at a slot each five minutes takes longer than other requests should wait."""
    threads = []
    compute = Availability.slots

    def slots_of(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return compute(*arguments)

    monkeypatch.setattr(Availability, "slots", slots_of)
    assert await starts(api, coach)
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_unknown_coach_or_client_id_returns_404(api: httpx.AsyncClient, people: People) -> None:
    client = await uuid_of(await people.user())
    for unknown in (client, "019bb1c6-5a00-7000-8000-000000000009", "me", "1"):
        answer = await slots(api, unknown)
        assert (answer.status_code, answer.json()["detail"]) == (404, "Coach not found")


async def test_inactive_coach_has_no_slots(
    api: httpx.AsyncClient, jane: Person, coach: str, shared_database: asyncpg.Connection
) -> None:
    await shared_database.execute("UPDATE users SET is_active = false WHERE id = $1", jane.id)
    answer = await slots(api, coach)
    assert (answer.status_code, answer.json()["detail"]) == (400, "Coach is not active")


async def test_past_slots_are_not_offered(api: httpx.AsyncClient, jane: Person, coach: str) -> None:
    await configure(jane, weekly_hours=every_day(("00:00", "24:00")))
    now = datetime.now(UTC)
    answer = await slots(
        api, coach, start_date=stamp(now - timedelta(days=1)), end_date=stamp(now + timedelta(hours=3))
    )
    begin = [datetime.fromisoformat(slot["start"]) for slot in answer.json()["available_slots"]]
    assert begin
    assert min(begin) >= now


async def test_sessions_with_buffers_and_events_block_slots(
    api: httpx.AsyncClient, people: People, jane: Person, coach: str
) -> None:
    await configure(jane, buffer_after_minutes=30, slot_step_minutes=60)
    ada = await people.user()
    booked = await books(ada, coach, at(10))
    await jane.creates_event(start_datetime=stamp(at(15)), end_datetime=stamp(at(16)))
    assert await starts(api, coach) == ["12:00", "13:00", "16:00"]
    assert (await ada.delete(f"/booking/{booked['id']}")).status_code == 204
    assert await starts(api, coach) == ["09:00", "10:00", "11:00", "12:00", "13:00", "16:00"]


async def test_every_slot_can_be_booked_and_is_then_not_offered(
    api: httpx.AsyncClient, people: People, jane: Person, coach: str
) -> None:
    await configure(jane, weekly_hours=every_day(("09:00", "11:00")), buffer_before_minutes=15)
    ada = await people.user()
    for expected in (["09:00", "09:30", "10:00"], []):
        assert await starts(api, coach) == expected
        for start in expected[1:2]:
            await books(ada, coach, at(9, 30))
            assert start == "09:30"


async def test_settings_of_a_coach_stay_until_they_are_changed(jane: Person) -> None:
    first = (await jane.get("/coach/availability")).json()
    assert first["timezone"] == "UTC"
    assert first["weekly_hours"] == every_day(("09:00", "17:00"))
    assert (first["price_per_hour"], first["currency"], first["bookable_days_ahead"]) == (0, "INR", None)
    said: dict[str, Any] = {
        "timezone": "America/New_York",
        "weekly_hours": {
            "monday": [{"start": "22:00", "end": "00:00"}],
            "tuesday": [{"start": "00:00", "end": "02:00"}],
        },
        "date_overrides": {"2026-12-24": [], "2026-12-31": [{"start": "10:00", "end": "12:00"}]},
        "buffer_before_minutes": 5,
        "minimum_notice_minutes": 1440,
        "bookable_days_ahead": 60,
        "price_per_hour": 1500.5,
        "currency": "INR",
        "refund_policy": [{"hours_before": 48, "percent": 100}, {"hours_before": 24, "percent": 50}],
    }
    shown = await configure(jane, **said)
    shown_night = every_day() | said["weekly_hours"] | {"monday": [{"start": "22:00", "end": "24:00"}]}
    expected = first | said | {"weekly_hours": shown_night}
    assert shown == expected
    changed = await configure(jane, bookable_days_ahead=None, buffer_after_minutes=10)
    assert changed == expected | {"bookable_days_ahead": None, "buffer_after_minutes": 10}
    assert (await jane.get("/coach/availability")).json() == changed


@pytest.mark.parametrize(
    "said",
    [
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"timezone": 5},
        {"weekly_hours": {"someday": []}},
        {"weekly_hours": {"monday": [{"start": "9", "end": "17:00"}]}},
        {"weekly_hours": {"monday": [{"start": "17:00", "end": "09:00"}]}},
        {"weekly_hours": {"monday": [{"start": "24:00", "end": "24:00"}]}},
        {"weekly_hours": {"monday": [{"start": "09:00", "end": "12:00"}, {"start": "11:00", "end": "13:00"}]}},
        {"weekly_hours": {"monday": [{"start": "09:00"}]}},
        {"date_overrides": {"2026-02-30": []}},
        {"date_overrides": {"christmas": []}},
        {"buffer_before_minutes": -1},
        {"buffer_after_minutes": 1441},
        {"buffer_after_minutes": 10**30},
        {"minimum_notice_minutes": 1.5},
        {"slot_step_minutes": 0},
        {"slot_step_minutes": None},
        {"bookable_days_ahead": 0},
        {"price_per_hour": -1},
        {"price_per_hour": 1e400},
        {"price_per_hour": 0.001},
        {"currency": "XXX"},
        {"refund_policy": [{"hours_before": 24, "percent": 101}]},
        {"refund_policy": [{"hours_before": 24, "percent": 50}, {"hours_before": 1, "percent": 100}]},
    ],
)
async def test_invalid_settings_are_rejected_and_change_nothing(jane: Person, said: dict[str, Any]) -> None:
    before = (await jane.get("/coach/availability")).json()
    body = {key: value if value != float("inf") else 10**400 for key, value in said.items()}
    answer = await jane.put("/coach/availability", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"]
    assert (await jane.get("/coach/availability")).json() == before


async def test_only_coaches_have_an_availability(people: People, api: httpx.AsyncClient) -> None:
    ada = await people.user()
    for answer in (await ada.get("/coach/availability"), await ada.put("/coach/availability", json={})):
        assert (answer.status_code, answer.json()["detail"]) == (403, "Insufficient permissions")
    assert (await api.get("/coach/availability")).json()["detail"] == "Not authenticated"


async def test_hours_are_in_the_time_zone_of_the_coach(
    api: httpx.AsyncClient, people: People, jane: Person, coach: str
) -> None:
    await configure(jane, timezone="Asia/Kathmandu", weekly_hours=every_day(("10:00", "12:00")))
    assert await starts(api, coach) == ["04:15", "04:45", "05:15"]
    ada = await people.user()
    refused = await ada.post("/booking", json=wanted(coach, at(9)))
    assert (refused.status_code, refused.json()["detail"]) == (400, "Time slot is not available")
    await books(ada, coach, at(4, 20))


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
