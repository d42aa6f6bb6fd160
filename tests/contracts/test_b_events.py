"""Contract B, endpoints 6 to 10: events, in the document's order."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.support.people import People, Person, event
from tests.support.process_harness import LONG_RUN
from tests.support.shapes import NUMBER, Instant, Nullable, misfits

EVENT = {
    "id": int,
    "title": str,
    "description": str,
    "event_type": str,
    "start_datetime": Instant,
    "end_datetime": Instant,
    "location": Nullable(str),
    "virtual_link": Nullable(str),
    "max_participants": int,
    "current_participants": int,
    "price": NUMBER,
    "currency": str,
    "is_active": bool,
    "facilitator": {"id": int, "name": str, "email": str},
    "created_at": Instant,
}
NO_EVENT = {"error": "Event not found", "code": "event_not_found", "request_id": str}
NOT_YOURS = {"error": "You can only manage your own events", "code": "not_your_event", "request_id": str}
NOT_ALLOWED = {"error": "Insufficient permissions", "code": "forbidden", "request_id": str}
UNAUTHENTICATED = {"error": "Invalid or expired token", "code": "invalid_token", "request_id": str}
NO_IDS = ["0", "-1", "+1", "1_000", "01", "1.0", "%D9%A1", "9223372036854775807", "9223372036854775808", "abc", "%FF"]


def invalid(*fields: str) -> dict[str, object]:
    details = dict.fromkeys(fields, str)
    return {"error": "Validation error", "code": "validation_error", "request_id": str, "details": details}


def ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [listed["id"] for listed in answer.json()["events"]]


# 6. List All Events


async def test_6_events_are_public(api: httpx.AsyncClient, people: People) -> None:
    facilitator = await people.facilitator()
    created = await facilitator.creates_event()
    answer = await api.get("/events")
    assert answer.status_code == 200
    assert not misfits({"events": [EVENT], "next_cursor": None}, answer.json())
    assert answer.json()["events"] == [created | {"virtual_link": None}]


async def test_6_list_without_events_is_empty(api: httpx.AsyncClient) -> None:
    assert (await api.get("/events")).json() == {"events": [], "next_cursor": None}


async def test_6_filters_restrict_the_list(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection
) -> None:
    john, jane = await people.facilitator(), await people.facilitator("Jane")
    session = await john.creates_event(in_days=1)
    workshop = await john.creates_event(in_days=2, event_type="workshop", category="Yoga")
    retreat = await jane.creates_event(in_days=3, event_type="retreat", category="Étude")
    cancelled = await jane.creates_event(in_days=4)
    await jane.post(f"/facilitator/events/{cancelled['id']}/cancel")
    past = await jane.creates_event(in_days=5)
    await _begin(database, past["id"], hours_ago=48)
    hidden = await jane.creates_event(in_days=6)
    await jane.delete(f"/events/{hidden['id']}")

    async def listed(**query: object) -> list[int]:
        return ids(await api.get("/events", params={name: str(value) for name, value in query.items()}))

    assert await listed() == [session["id"], workshop["id"], retreat["id"]]
    assert await listed(type="session") == [session["id"]]
    assert await listed(type="WorkShop") == [workshop["id"]]
    assert await listed(type="yoga") == [workshop["id"]]
    assert await listed(type="éTUDE") == [retreat["id"]]
    assert await listed(type="%") == []
    assert await listed(facilitator_id=john.id) == [session["id"], workshop["id"]]
    assert await listed(facilitator_id=2**63 - 1) == []
    assert await listed(active="false") == [cancelled["id"]]
    assert await listed(active="TRUE") == [past["id"], session["id"], workshop["id"], retreat["id"]]
    assert await listed(type="session", facilitator_id=jane.id, active="false") == [cancelled["id"]]


async def test_6_cursor_leads_to_the_next_page(api: httpx.AsyncClient, people: People) -> None:
    facilitator = await people.facilitator()
    starts = event(in_days=9)
    created = [await facilitator.creates_event(**starts) for _ in range(3)]
    created += [await facilitator.creates_event(in_days=10 + day) for day in range(2)]
    expected = [one["id"] for one in created]
    first = await api.get("/events?limit=2")
    second = await api.get("/events", params={"limit": 2, "cursor": first.json()["next_cursor"]})
    third = await api.get(second.links["next"]["url"])
    assert first.links["next"]["url"].endswith(f"cursor={quote(first.json()['next_cursor'])}")
    assert third.links == {}
    assert [ids(page) for page in (first, second, third)] == [expected[:2], expected[2:4], expected[4:]]
    assert third.json()["next_cursor"] is None
    assert ids(await api.get("/events?limit=500")) == expected
    assert ids(await api.get("/events?limit=9999999")) == expected
    assert ids(await api.get("/events?limit=1&limit=2")) == expected[:2]


async def test_6_page_holds_at_most_500_events(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection
) -> None:
    john = await people.facilitator()
    await database.execute(
        """INSERT INTO events
               (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price, currency)
           SELECT $1, n::text, '', 'session', now() + '1 day', now() + '2 days', 5, 0, 'INR'
           FROM generate_series(1, 501) n""",
        john.id,
    )
    page = await api.get("/events")
    assert len(ids(page)) == 500
    rest = await api.get("/events", params={"cursor": page.json()["next_cursor"]})
    assert len(set(ids(page) + ids(rest))) == 501
    assert rest.json()["next_cursor"] is None
    # Comparing 500 events with the description takes a second.
    async with httpx.AsyncClient(base_url=api.base_url) as unchecked:
        assert len(ids(await (api if LONG_RUN else unchecked).get("/events?limit=501"))) == 500


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("active=maybe", "active"),
        ("active=", "active"),
        ("facilitator_id=+1", "facilitator_id"),
        ("facilitator_id=x", "facilitator_id"),
        ("facilitator_id=0", "facilitator_id"),
        ("facilitator_id=9223372036854775808", "facilitator_id"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1_0", "limit"),
        ("limit=%D9%A1", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("cursor=MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMCAx", "cursor"),
        ("cursor=MjAyNi0wMS0wMVQwMDowMDowMFogOTIyMzM3MjAzNjg1NDc3NTgwOA==", "cursor"),
        ("type=%00", "query"),
        ("type=%FF", "query"),
    ],
)
async def test_6_invalid_query_returns_400_with_the_field(
    shared_api: httpx.AsyncClient, query: str, field: str
) -> None:
    answer = await shared_api.get(f"/events?{query}")
    assert answer.status_code == 400
    assert not misfits(invalid(field), answer.json())


# 7. Get Single Event


async def test_7_event_is_public(shared_api: httpx.AsyncClient, john: Person) -> None:
    created = await john.creates_event(location=None, virtual_link=None)
    answer = await shared_api.get(f"/events/{created['id']}")
    assert answer.status_code == 200
    assert not misfits(EVENT, answer.json())
    assert answer.json() == created


@pytest.mark.parametrize("event_id", NO_IDS)
async def test_7_unknown_event_returns_404(shared_api: httpx.AsyncClient, event_id: str) -> None:
    answer = await shared_api.get(f"/events/{event_id}")
    assert answer.status_code == 404
    assert not misfits(NO_EVENT, answer.json())


# 8. Create Event


async def test_8_facilitator_creates_an_event(john: Person) -> None:
    body = event()
    answer = await john.post("/events", json=body)
    assert answer.status_code == 201
    expected = EVENT | {
        "title": body["title"],
        "description": body["description"],
        "event_type": "session",
        "start_datetime": body["start_datetime"].replace("+00:00", "Z"),
        "end_datetime": body["end_datetime"].replace("+00:00", "Z"),
        "location": "Studio B",
        "virtual_link": "https://meet.google.com/abc-defg-hij",
        "max_participants": 15,
        "current_participants": 0,
        "currency": "INR",
        "is_active": True,
        "facilitator": {"id": john.id, "name": john.name, "email": john.email},
    }
    assert not misfits({"message": "Event created successfully", "event": expected}, answer.json())
    assert answer.json()["event"]["price"] == 30.0


async def test_8_optional_fields_have_defaults(john: Person) -> None:
    body = {name: event()[name] for name in ("title", "start_datetime", "end_datetime", "max_participants")}
    created = (await john.post("/events", json=body)).json()["event"]
    defaults = {"description": "", "event_type": "session", "location": None, "virtual_link": None, "currency": "INR"}
    assert defaults.items() <= created.items()
    assert created["price"] == 0


@pytest.mark.parametrize("field", ["title", "start_datetime", "end_datetime", "max_participants"])
async def test_8_missing_field_is_named(john: Person, field: str) -> None:
    body = event()
    del body[field]
    answer = await john.post("/events", json=body)
    assert answer.status_code == 400
    assert answer.json()["details"] == {field: "Missing required field"}


@pytest.mark.parametrize("offset", ["", "Z", "+00:00", "+05:30", "-08:00"])
async def test_8_time_without_an_offset_is_utc(john: Person, offset: str) -> None:
    starts = (datetime.now(UTC) + timedelta(days=30)).replace(hour=12, minute=0, second=0, microsecond=0, tzinfo=None)
    body = event(start_datetime=f"{starts.isoformat()}{offset}", end_datetime=f"{starts.isoformat()}.500000{offset}")
    created = (await john.post("/events", json=body)).json()["event"]
    expected = datetime.fromisoformat(f"{starts.isoformat()}{offset or 'Z'}").astimezone(UTC)
    assert created["start_datetime"] == expected.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("price", "currency", "shown"),
    [
        (19.99, "INR", 19.99),
        (0.1, "EUR", 0.1),
        ("30", "INR", 30),
        (1000, "JPY", 1000),
        (1.234, "KWD", 1.234),
        (0, "USD", 0),
    ],
)
async def test_8_price_is_returned_as_given(john: Person, price: object, currency: str, shown: float) -> None:
    created = await john.creates_event(price=price, currency=currency)
    assert (created["price"], created["currency"]) == (shown, currency)


@pytest.fixture(scope="module")
async def existing(john: Person) -> dict[str, Any]:
    """An event that no test changes."""
    return await john.creates_event()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", "t" * 201),
        ("title", "a\r\nb"),
        ("title", 5),
        ("description", "d" * 10_001),
        ("description", "a\x07"),
        ("event_type", "party"),
        ("event_type", 1),
        ("start_datetime", "tomorrow"),
        ("start_datetime", "2099-13-01T00:00:00Z"),
        ("start_datetime", "2001-01-01T00:00:00Z"),
        ("start_datetime", "0001-01-01T00:00:00+14:00"),
        ("start_datetime", True),
        ("end_datetime", "2001-01-01T00:00:00Z"),
        ("end_datetime", "9999-12-31T23:59:59-14:00"),
        ("location", "l" * 301),
        ("virtual_link", "javascript:alert(1)"),
        ("virtual_link", "meet.example.com"),
        ("max_participants", 0),
        ("max_participants", -1),
        ("max_participants", 1_000_001),
        ("max_participants", 2**63),
        ("max_participants", 10**300),
        ("max_participants", 1.5),
        ("max_participants", True),
        ("max_participants", None),
        ("max_participants", "many"),
        ("price", -5),
        ("price", "NaN"),
        ("price", "sNaN"),
        ("price", "Infinity"),
        ("price", "-0.01"),
        ("price", 1.001),
        ("price", "1e-30"),
        ("price", "1e30"),
        ("price", True),
        ("price", "thirty"),
        ("currency", "XXX"),
        ("currency", "RUPEES"),
        ("currency", 356),
        ("category", "c" * 81),
        ("category", []),
    ],
)
async def test_8_9_invalid_field_is_named(john: Person, existing: dict[str, Any], field: str, value: Any) -> None:
    answer = await john.post("/events", json=event(**{field: value}))
    assert answer.status_code == 400, answer.text
    assert not misfits(invalid(field), answer.json())
    answer = await john.put(f"/events/{existing['id']}", {field: value})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "validation_error"
    assert (await john.get(f"/events/{existing['id']}")).json() == existing


async def test_8_numbers_as_text_are_accepted(john: Person) -> None:
    created = await john.creates_event(max_participants="15", price="30.50")
    assert (created["max_participants"], created["price"]) == (15, 30.5)


async def test_8_read_only_fields_are_ignored(john: Person, ada: Person) -> None:
    forged = {"id": 1, "booked": 9, "current_participants": 9, "facilitator_id": ada.id, "is_active": False}
    created = await john.creates_event(**forged, status="cancelled", hidden_at="2026-01-01T00:00:00Z")
    assert created["current_participants"] == 0
    assert created["facilitator"]["id"] == john.id
    assert created["is_active"] is True


async def test_8_only_facilitators_create_events(shared_api: httpx.AsyncClient, ada: Person) -> None:
    answer = await ada.post("/events", json=event())
    assert answer.status_code == 403
    expected = {"error": "Only facilitators can create events", "code": "facilitator_required", "request_id": str}
    assert not misfits(expected, answer.json())
    answer = await shared_api.post("/events", json=event())
    assert answer.status_code == 401
    assert not misfits(UNAUTHENTICATED, answer.json())


# 9. Update Event


async def test_9_update_changes_only_the_given_fields(john: Person) -> None:
    before = await john.creates_event()
    change = {"title": "Updated Yoga Session", "description": "Updated description", "max_participants": 20}
    answer = await john.put(f"/events/{before['id']}", change | {"price": 35.00})
    assert answer.status_code == 200
    assert not misfits({"message": "Event updated successfully", "event": EVENT}, answer.json())
    assert answer.json()["event"] == before | change | {"price": 35.0}
    assert (await john.get(f"/events/{before['id']}")).json() == answer.json()["event"]


async def test_9_null_removes_optional_values(john: Person) -> None:
    before = await john.creates_event()
    answer = await john.put(f"/events/{before['id']}", {"location": None, "virtual_link": None})
    assert answer.json()["event"] == before | {"location": None, "virtual_link": None}


async def test_9_empty_update_changes_nothing(john: Person) -> None:
    before = await john.creates_event()
    forged = {"id": 1, "current_participants": 3, "is_active": False, "facilitator": {"id": 1}}
    assert (await john.put(f"/events/{before['id']}", {})).json()["event"] == before
    assert (await john.put(f"/events/{before['id']}", forged)).json()["event"] == before


async def test_9_conflicting_update_returns_400(john: Person, ada: Person, shared_database: asyncpg.Connection) -> None:
    booked = await john.creates_event(max_participants=2)
    await ada.books(booked["id"])
    await john.books(booked["id"])
    begun = await john.creates_event()
    await _begin(shared_database, begun["id"], hours_ago=0.5)
    cancelled = await john.creates_event()
    await john.post(f"/facilitator/events/{cancelled['id']}/cancel")
    later = event(in_days=20)
    for event_id, change, code, sentence in [
        (booked["id"], {"max_participants": 1}, "capacity_below_bookings", "There are more bookings than that"),
        (booked["id"], {"currency": "EUR"},
         "currency_of_bookings", "The currency cannot change while people hold bookings"),
        (cancelled["id"], {"title": "x"}, "event_cancelled", "Event is cancelled"),
        (begun["id"], {"start_datetime": later["start_datetime"], "end_datetime": later["end_datetime"]},
         "event_started", "Event has already started"),
    ]:  # fmt: skip
        answer = await john.put(f"/events/{event_id}", change)
        assert answer.status_code == 400
        assert not misfits({"error": sentence, "code": code, "request_id": str}, answer.json())


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_9_10_only_the_facilitator_can_change_an_event(
    shared_api: httpx.AsyncClient, shared_people: People, john: Person, ada: Person, method: str
) -> None:
    mine = await john.creates_event()
    path = f"/events/{mine['id']}"
    body = {"title": "Taken over"} if method == "PUT" else None
    for person, status, shape in [
        (None, 401, UNAUTHENTICATED),
        (ada, 403, NOT_ALLOWED),
        (await shared_people.facilitator("Somebody Else"), 403, NOT_YOURS),
    ]:
        headers = person.headers if person else {}
        answer = await shared_api.request(method, path, json=body, headers=headers)
        assert answer.status_code == status
        assert not misfits(shape, answer.json())
    assert (await john.get(path)).json() == mine


@pytest.mark.parametrize("event_id", NO_IDS)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_9_10_unknown_event_returns_404(john: Person, method: str, event_id: str) -> None:
    body = {"title": "x"} if method == "PUT" else None
    answer = await john.api.request(method, f"/events/{event_id}", json=body, headers=john.headers)
    assert answer.status_code == 404
    assert not misfits(NO_EVENT, answer.json())


# 10. Delete Event


async def test_10_deleted_event_returns_404(shared_api: httpx.AsyncClient, john: Person) -> None:
    created = await john.creates_event()
    answer = await john.delete(f"/events/{created['id']}")
    assert answer.status_code == 200
    assert answer.json() == {"message": "Event deleted successfully"}
    for lost in [
        await shared_api.get(f"/events/{created['id']}"),
        await john.delete(f"/events/{created['id']}"),
        await john.put(f"/events/{created['id']}", {"title": "x"}),
        await john.get(f"/facilitator/events/{created['id']}/bookings"),
        await john.post(f"/facilitator/events/{created['id']}/cancel"),
        await john.post("/bookings", json={"event_id": created["id"]}),
    ]:
        assert lost.status_code == 404
        assert not misfits(NO_EVENT, lost.json())
    assert created["id"] not in ids(await john.get("/facilitator/events"))


async def test_10_deleting_an_event_cancels_its_bookings_and_keeps_the_rows(
    john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    created = await john.creates_event()
    booking = await ada.books(created["id"])
    assert (await john.delete(f"/events/{created['id']}")).status_code == 200
    kept = (await ada.get(f"/bookings/{booking['id']}")).json()
    assert kept["status"] == "cancelled"
    assert not misfits(Instant, kept["cancelled_at"])
    assert kept["event"]["id"] == created["id"]
    assert booking["id"] in [one["id"] for one in (await ada.get("/bookings")).json()["bookings"]]
    rows = await shared_database.fetch(
        "SELECT destination, fact FROM outbox WHERE lane IN ($1, $2) AND fact NOT LIKE '%_created'",
        f"booking:{booking['id']}",
        f"event:{created['id']}",
    )
    assert {tuple(row) for row in rows} == {
        ("crm", "event_cancelled"),
        ("crm", "booking_cancelled"),
        ("email", "booking_cancelled"),
        ("realtime", "event_cancelled"),
        ("realtime", "booking_cancelled"),
    }


async def test_trailing_slashes_are_accepted(shared_api: httpx.AsyncClient, john: Person) -> None:
    created = await john.post("/events/", json=event())
    assert created.status_code == 201
    path = f"/events/{created.json()['event']['id']}/"
    assert (await shared_api.get(path)).status_code == 200
    assert (await shared_api.get("/events/?limit=1")).status_code == 200
    assert (await john.put(path, {"title": "x"})).status_code == 200
    assert (await john.delete(path)).status_code == 200


async def _begin(database: asyncpg.Connection, event_id: int, *, hours_ago: float) -> None:
    """Moves an event of one hour to when it began so long ago."""
    await database.execute(
        "UPDATE events SET starts_at = now() - $2::interval, ends_at = now() - $2::interval + '1 hour' WHERE id = $1",
        event_id,
        timedelta(hours=hours_ago),
    )


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
