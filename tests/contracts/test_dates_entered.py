"""Every date and time that a client can enter lies between 1970-01-01 and 2099-12-31, in every contract."""

from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest
from icalendar import Calendar

from tests.support.appointments import books, free_hour, uuid_of, wanted
from tests.support.description_checks import document
from tests.support.people import Person, event

OUTSIDE = [
    "0001-01-01T00:00:00+14:00",
    "1969-12-31T23:59:59Z",
    "1970-01-01T05:00:00+05:30",
    "2100-01-01T00:00:00Z",
    "2099-12-31T23:59:59-00:01",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
]
SENTENCE = "Must be between 1970-01-01 and 2099-12-31"
BODIES = {
    ("post", "/events"): {"start_datetime", "end_datetime"},
    ("put", "/events/{event_id}"): {"start_datetime", "end_datetime"},
    ("post", "/api/sessions"): {"start_time", "end_time"},
    ("put", "/api/sessions/{session_id}"): {"start_time", "end_time"},
    ("post", "/booking"): {"session_datetime"},
    ("post", "/booking/{booking_id}/reschedule"): {"session_datetime"},
    ("post", "/booking/recurring"): {"session_datetime"},
    ("post", "/api-keys"): {"expires_at"},
}
QUERIES = {
    ("get", "/booking/coach/{coach_id}/availability"): {"start_date", "end_date"},
    ("get", "/booking/coach/{coach_id}/analytics"): {"start_date", "end_date"},
    ("get", "/admin/audit"): {"since", "until"},
    ("get", "/admin/outbox"): {"since"},
}


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    """Names of the fields of a body that are dates or times, at any depth."""
    if "$ref" in schema:
        schema = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for name, field in schema.get("properties", {}).items():
        if field.get("format") in {"date", "date-time"}:
            yield name
        yield from _fields(field)
    for part in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(part, []):
            yield from _fields(each)
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from _fields(schema[part])


def test_lists_below_contain_every_date_of_the_description() -> None:
    bodies, queries = {}, {}
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {})
            found = set(_fields(content.get("application/json", {}).get("schema", {})))
            if found:
                bodies[method, path] = found
            names = {each["name"] for each in operation.get("parameters", [])}
            named = {name for name in names if any(word in name for word in ("date", "since", "until", "time"))}
            if named - {"idempotency-key"}:
                queries[method, path] = named
    assert bodies == BODIES
    # Not a date: how long a session takes.
    assert {asked: names - {"duration_minutes"} for asked, names in queries.items()} == QUERIES


def refused(answer: httpx.Response, field: str) -> None:
    """In the path's own shape: E has a sentence, B and C name the field."""
    assert answer.status_code == 400, answer.text
    body = answer.json()
    if "detail" in body:
        assert body["detail"] == f"{field}: {SENTENCE}"
    else:
        assert body["error"] == "Validation error"
        assert body["details"] == {field: SENTENCE}


@pytest.fixture(scope="module")
async def booked(ada: Person, john: Person) -> dict[str, Any]:
    """What can be changed: an event, a coaching session and its coach."""
    coach = await uuid_of(john)
    # Far ahead, so that no free hour falls into it.
    made = (await john.creates_event(**event(in_days=900)))["id"]
    return {"event": made, "coach": coach, "session": (await books(ada, coach, free_hour()))["id"]}


@pytest.mark.parametrize("moment", OUTSIDE)
async def test_date_out_of_range_returns_400_in_the_contract_shape(
    ada: Person, john: Person, booked: dict[str, Any], moment: str
) -> None:
    late = moment > "2"
    for start, end, post, put in (
        ("start_datetime", "end_datetime", "/events", f"/events/{booked['event']}"),
        ("start_time", "end_time", "/api/sessions", f"/api/sessions/{booked['event']}"),
    ):
        body = event()
        body |= {start: body["start_datetime"], end: body["end_datetime"], "capacity": 5}
        if late:
            refused(await john.post(post, body | {end: moment}), end)
            refused(await john.put(put, {end: moment}), end)
        else:
            refused(await john.post(post, body | {start: moment}), start)
            refused(await john.put(put, {start: moment}), start)
    coach = booked["coach"]
    session: dict[str, Any] = {"session_datetime": moment}
    refused(await ada.post("/booking", wanted(coach, free_hour(), **session)), "session_datetime")
    refused(await ada.post(f"/booking/{booked['session']}/reschedule", session), "session_datetime")
    refused(await john.post(f"/booking/{booked['session']}/reschedule", session), "session_datetime")
    series = wanted(coach, free_hour(), rrule="FREQ=DAILY;COUNT=2", **session)
    refused(await ada.post("/booking/recurring", series), "session_datetime")
    for path in (f"/booking/coach/{coach}/availability", f"/booking/coach/{coach}/analytics"):
        inside = "2026-12-01T00:00:00Z"
        refused(await john.get(path, params={"start_date": moment, "end_date": inside}), "start_date")
        refused(await john.get(path, params={"start_date": inside, "end_date": moment}), "end_date")


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "2100-01-01", "9999-12-31"])
async def test_date_parameters_have_the_same_range(john: Person, booked: dict[str, Any], day: str) -> None:
    refused(await john.put("/coach/availability", {"date_overrides": {day: []}}), "date_overrides")
    for path in (f"/booking/coach/{booked['coach']}/availability", f"/booking/coach/{booked['coach']}/analytics"):
        refused(await john.get(path, params={"start_date": day, "end_date": "2026-12-01"}), "start_date")


async def test_session_must_end_within_the_range(ada: Person, booked: dict[str, Any]) -> None:
    body = wanted(booked["coach"], free_hour(), session_datetime="2099-12-31T23:30:00Z")
    refused(await ada.post("/booking", body), "session_datetime")


async def test_last_day_of_the_range_is_accepted(john: Person, booked: dict[str, Any]) -> None:
    last = {"start_datetime": "2099-12-31T10:00:00Z", "end_datetime": "2099-12-31T23:59:59Z"}
    assert (await john.post("/events", event() | last)).status_code == 201
    answer = await john.put("/coach/availability", {"date_overrides": {"1970-01-01": [], "2099-12-31": []}})
    assert answer.status_code == 200, answer.text
    query = {"start_date": "2099-12-01T00:00:00Z", "end_date": "2099-12-31T00:00:00Z"}
    path = f"/booking/coach/{booked['coach']}/availability"
    assert (await john.get(path, params=query)).json()["available_slots"] != []
    first = {"start_date": "1970-01-01", "end_date": "1970-01-02"}
    assert (await john.get(path, params=first)).json()["available_slots"] == []


async def test_stored_dates_out_of_range_stay_readable_and_can_be_changed(
    shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection, ada: Person, john: Person
) -> None:
    made = (await john.creates_event(title="Open end"))["id"]
    await shared_database.execute("UPDATE events SET ends_at = '9999-12-31 23:59:59Z' WHERE id = $1", made)
    await shared_database.execute(
        """UPDATE coaches SET date_overrides = '{"9999-12-31": [[540, 600]]}' WHERE user_id = $1""", john.id
    )
    shown = (await shared_api.get(f"/events/{made}")).json()
    assert shown["end_datetime"] == "9999-12-31T23:59:59Z"
    assert made in [each["id"] for each in (await shared_api.get("/events")).json()["events"]]
    assert (await john.put(f"/events/{made}", {"title": "Open ended"})).status_code == 200
    assert (await john.put(f"/events/{made}", {"end_datetime": shown["end_datetime"]})).status_code == 200
    refused(await john.put(f"/events/{made}", {"end_datetime": "9999-12-30T00:00:00Z"}), "end_datetime")
    assert (await john.put(f"/api/sessions/{made}", {"capacity": 9})).status_code == 200
    assert (await ada.post("/bookings", {"event_id": made})).status_code == 201
    path = httpx.URL((await ada.post("/calendar/feed")).json()["url"]).path
    [entry] = [
        each
        for each in Calendar.from_ical((await shared_api.get(path)).text).walk("VEVENT")
        if each["SUMMARY"] == "Open ended"
    ]
    assert entry["DTEND"].to_ical() == b"99991231T235959Z"
    overrides = (await john.get("/coach/availability")).json()["date_overrides"]
    assert set(overrides) == {"9999-12-31"}
    assert (await john.put("/coach/availability", {"date_overrides": overrides})).status_code == 200
