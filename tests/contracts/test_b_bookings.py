"""Contract B, endpoints 11 to 14: bookings, in the document's order."""

import asyncio
import re

import asyncpg
import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.support.people import People, Person
from tests.support.shapes import NUMBER, Instant, Nullable, misfits

PERSON = {"id": int, "name": str, "email": str}
CREATED = {
    "id": int,
    "booking_reference": str,
    "status": "confirmed",
    "notes": Nullable(str),
    "payment_status": str,
    "payment_id": Nullable(str),
    "payment_reference": Nullable(str),
    "price": NUMBER,
    "currency": str,
    "facilitator_id": int,
    "user": PERSON,
    "event": {"id": int, "title": str, "price": NUMBER, "currency": str},
    "created_at": Instant,
}
EVENT = {
    "id": int,
    "title": str,
    "description": str,
    "start_datetime": Instant,
    "end_datetime": Instant,
    "location": Nullable(str),
    "price": NUMBER,
    "currency": str,
}
BOOKING = CREATED | {"status": str, "cancelled_at": Nullable(Instant), "event": EVENT}
UNAUTHENTICATED = {"error": "Invalid or expired token", "code": "invalid_token", "request_id": str}
NO_BOOKING = {"error": "Booking not found", "code": "booking_not_found", "request_id": str}
NOT_YOURS = {"error": "You can only access your own bookings", "code": "not_your_booking", "request_id": str}
NO_IDS = ["0", "-1", "+1", "1_000", "01", "%D9%A1", "9223372036854775807", "9223372036854775808", "abc", "BK2026000001"]


def refused(sentence: str, code: str) -> dict[str, object]:
    return {"error": sentence, "code": code, "request_id": str}


def invalid(field: str) -> dict[str, object]:
    return refused("Validation error", "validation_error") | {"details": {field: str}}


# 11. Create Booking


async def test_11_booking_returns_201_with_the_booking(john: Person, ada: Person) -> None:
    event = await john.creates_event(price=25)
    answer = await ada.post(
        "/bookings", json={"event_id": event["id"], "notes": "Special requirements: Beginner level"}
    )
    assert answer.status_code == 201
    booking = CREATED | {
        "notes": "Special requirements: Beginner level",
        "payment_status": "pending",
        "payment_id": None,
        "payment_reference": None,
        "user": {"id": ada.id, "name": ada.name, "email": ada.email},
        "event": {"id": event["id"], "title": event["title"], "price": NUMBER, "currency": "INR"},
    }
    shape = {"message": "Booking created successfully", "booking": booking, "payment_url": None}
    assert not misfits(shape, answer.json())
    assert answer.json()["booking"]["event"]["price"] == 25
    created = answer.json()["booking"]
    assert re.fullmatch(rf"BK{created['created_at'][:4]}\d{{6}}", created["booking_reference"])
    assert (await john.get(f"/events/{event['id']}")).json()["current_participants"] == 1


async def test_11_free_seat_needs_no_payment(john: Person, ada: Person) -> None:
    booking = await ada.books((await john.creates_event(price=0))["id"])
    assert (booking["payment_status"], booking["notes"]) == ("not_required", None)


async def test_11_each_reason_against_a_booking_returns_its_message(
    john: Person, ada: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    full = await john.creates_event(max_participants=1)
    await (await shared_people.user()).books(full["id"])
    twice = await john.creates_event()
    await ada.books(twice["id"])
    cancelled = await john.creates_event()
    await john.post(f"/facilitator/events/{cancelled['id']}/cancel")
    begun = await john.creates_event()
    await shared_database.execute("UPDATE events SET starts_at = now() WHERE id = $1", begun["id"])
    for event_id, sentence, code in [
        (full["id"], "Event is full", "event_full"),
        (twice["id"], "You have already booked this event", "already_booked"),
        (cancelled["id"], "Event is cancelled", "event_cancelled"),
        (begun["id"], "Event has already started", "event_started"),
    ]:
        answer = await ada.post("/bookings", json={"event_id": event_id})
        assert answer.status_code == 400
        assert not misfits(refused(sentence, code), answer.json())
    answer = await ada.post("/bookings", json={"event_id": 2**63 - 1})
    assert answer.status_code == 404
    assert not misfits(refused("Event not found", "event_not_found"), answer.json())


async def test_11_concurrent_bookings_of_the_last_seat_succeed_once(john: Person, shared_people: People) -> None:
    event = await john.creates_event(max_participants=1)
    users = [await shared_people.user() for _ in range(6)]
    answers = await asyncio.gather(*(one.post("/bookings", json={"event_id": event["id"]}) for one in users))
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400, 400, 400]
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"Event is full"}


async def test_11_concurrent_bookings_by_one_user_succeed_once(john: Person, ada: Person) -> None:
    event = await john.creates_event()
    answers = await asyncio.gather(*(ada.post("/bookings", json={"event_id": event["id"]}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400, 400, 400]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 400} == {"already_booked"}
    assert (await john.get(f"/events/{event['id']}")).json()["current_participants"] == 1


@pytest.mark.parametrize("event_id", [0, -1, 2**63, 10**300, 1.5, True, "x", None, [], {}])
async def test_11_invalid_event_id_returns_400_with_the_field(ada: Person, event_id: object) -> None:
    answer = await ada.post("/bookings", json={"event_id": event_id})
    assert answer.status_code == 400
    assert not misfits(invalid("event_id"), answer.json())


async def test_11_invalid_or_missing_fields_are_named(john: Person, ada: Person) -> None:
    event = await john.creates_event()
    assert (await ada.post("/bookings", json={})).json()["details"] == {"event_id": "Missing required field"}
    for notes in ("n" * 2001, "\x07", 5):
        answer = await ada.post("/bookings", json={"event_id": event["id"], "notes": notes})
        assert answer.status_code == 400
        assert not misfits(invalid("notes"), answer.json())


async def test_11_read_only_fields_are_ignored(john: Person, ada: Person) -> None:
    event = await john.creates_event(price=25)
    forged = {"id": 1, "user_id": john.id, "status": "completed", "payment_status": "completed", "price": 0}
    answer = await ada.post("/bookings", json={"event_id": event["id"]} | forged)
    booking = answer.json()["booking"]
    assert (booking["user"]["id"], booking["status"], booking["payment_status"]) == (ada.id, "confirmed", "pending")
    assert booking["event"]["price"] == 25


# 12. List User Bookings


async def test_12_user_lists_own_bookings(people: People, database: asyncpg.Connection) -> None:
    john, ada, other = await people.facilitator(), await people.user(), await people.user()
    events = [await john.creates_event(in_days=day, price=price) for day, price in ((9, 30), (8, 0), (7, 30), (6, 30))]
    first, free, cancelled, paid = [(await ada.books(event["id"]))["id"] for event in events]
    await other.books(events[0]["id"])
    await ada.post(f"/bookings/{cancelled}/cancel")
    await database.execute("UPDATE bookings SET payment_status = 'completed' WHERE id = $1", paid)
    await database.execute(
        "UPDATE payments SET gateway_payment_id = 'pay_1', gateway_reference = 'ref_1' WHERE booking_id = $1", paid
    )

    answer = await ada.get("/bookings")
    assert answer.status_code == 200
    assert not misfits({"bookings": [BOOKING], "next_cursor": None}, answer.json())
    newest = answer.json()["bookings"][0]
    assert (newest["payment_id"], newest["payment_reference"]) == ("pay_1", "ref_1")

    async def listed(**query: str) -> list[int]:
        answer = await ada.get("/bookings", params=query)
        assert answer.status_code == 200, answer.text
        return [booking["id"] for booking in answer.json()["bookings"]]

    assert await listed() == [paid, cancelled, free, first]
    assert await listed(status="confirmed") == [paid, free, first]
    assert await listed(status="cancelled") == [cancelled]
    assert await listed(status="completed") == []
    assert await listed(payment_status="pending") == await listed(payment_status="unpaid") == [cancelled, first]
    assert await listed(payment_status="completed") == await listed(payment_status="paid") == [paid]
    assert await listed(payment_status="failed") == await listed(payment_status="refunded") == []
    assert await listed(payment_status="not_required") == [free]
    assert await listed(status="confirmed", payment_status="pending") == [first]

    page = (await ada.get("/bookings?limit=3")).json()
    assert await listed(limit="3", cursor=page["next_cursor"]) == [first]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=open", "status"),
        ("status=Confirmed", "status"),
        ("payment_status=free", "payment_status"),
        ("payment_status=", "payment_status"),
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=LTE=", "cursor"),
        ("cursor=OTIyMzM3MjAzNjg1NDc3NTgwOA==", "cursor"),
    ],
)
async def test_12_invalid_query_returns_400_with_the_field(ada: Person, query: str, field: str) -> None:
    answer = await ada.get(f"/bookings?{query}")
    assert answer.status_code == 400
    assert not misfits(invalid(field), answer.json())


# 13. Get Single Booking


async def test_13_only_the_user_and_the_facilitator_see_a_booking(
    john: Person, ada: Person, shared_people: People
) -> None:
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    answer = await ada.get(f"/bookings/{booking['id']}")
    assert answer.status_code == 200
    expected = BOOKING | {
        "id": booking["id"],
        "booking_reference": booking["booking_reference"],
        "status": "confirmed",
        "payment_status": "pending",
        "cancelled_at": None,
        "user": {"id": ada.id, "name": ada.name, "email": ada.email},
        "event": {name: event[name] for name in EVENT} | {"virtual_link": None},
    }
    assert not misfits(expected, answer.json())
    seen_by_facilitator = (await john.get(f"/bookings/{booking['id']}")).json()
    with_link = answer.json()["event"] | {"virtual_link": event["virtual_link"]}
    assert seen_by_facilitator == answer.json() | {"event": with_link}
    for other in (await shared_people.user(), await shared_people.facilitator()):
        answer = await other.get(f"/bookings/{booking['id']}")
        assert answer.status_code == 403
        assert not misfits(NOT_YOURS, answer.json())


@pytest.mark.parametrize("booking_id", NO_IDS)
async def test_13_14_unknown_booking_returns_404(ada: Person, booking_id: str) -> None:
    for answer in (await ada.get(f"/bookings/{booking_id}"), await ada.post(f"/bookings/{booking_id}/cancel")):
        assert answer.status_code == 404
        assert not misfits(NO_BOOKING, answer.json())


# 14. Cancel Booking


async def test_14_cancelling_releases_the_seat(john: Person, ada: Person, shared_people: People) -> None:
    event = await john.creates_event(max_participants=1)
    booking = await ada.books(event["id"])
    answer = await ada.post(f"/bookings/{booking['id']}/cancel")
    assert answer.status_code == 200
    refund = Nullable({"refund_id": str, "amount": NUMBER, "currency": str, "status": str})
    assert not misfits({"message": "Booking cancelled successfully", "refund": refund}, answer.json())
    cancelled = (await ada.get(f"/bookings/{booking['id']}")).json()
    assert not misfits(BOOKING | {"status": "cancelled", "cancelled_at": Instant}, cancelled)
    assert (await john.get(f"/events/{event['id']}")).json()["current_participants"] == 0
    await (await shared_people.user()).books(event["id"])
    assert (await ada.post("/bookings", json={"event_id": event["id"]})).json()["error"] == "Event is full"


async def test_14_user_can_book_again_after_cancelling(john: Person, ada: Person) -> None:
    event = await john.creates_event()
    first = await ada.books(event["id"])
    await ada.post(f"/bookings/{first['id']}/cancel")
    assert (await ada.books(event["id"]))["id"] != first["id"]


async def test_14_concurrent_cancellations_succeed_once(john: Person, ada: Person) -> None:
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    answers = await asyncio.gather(*(ada.post(f"/bookings/{booking['id']}/cancel") for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    expected = refused("Booking is already cancelled", "booking_already_cancelled")
    assert not [misfit for one in answers if one.status_code == 400 for misfit in misfits(expected, one.json())]
    assert (await john.get(f"/events/{event['id']}")).json()["current_participants"] == 0


async def test_14_booking_of_a_started_event_cannot_be_cancelled(
    john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    await shared_database.execute("UPDATE events SET starts_at = now() WHERE id = $1", event["id"])
    answer = await ada.post(f"/bookings/{booking['id']}/cancel")
    assert answer.status_code == 400
    assert not misfits(refused("The event has already started", "booking_over"), answer.json())


async def test_14_only_the_user_of_the_booking_can_cancel(john: Person, ada: Person, shared_people: People) -> None:
    booking = await ada.books((await john.creates_event())["id"])
    for other in (john, await shared_people.user()):
        answer = await other.post(f"/bookings/{booking['id']}/cancel")
        assert answer.status_code == 403
        assert not misfits(NOT_YOURS, answer.json())
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["status"] == "confirmed"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/bookings"), ("GET", "/bookings"), ("GET", "/bookings/1"), ("POST", "/bookings/1/cancel")],
)
async def test_11_to_14_bookings_need_a_token(shared_api: httpx.AsyncClient, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        answer = await shared_api.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert not misfits(UNAUTHENTICATED, answer.json())


async def test_trailing_slashes_are_accepted(john: Person, ada: Person) -> None:
    answer = await ada.post("/bookings/", json={"event_id": (await john.creates_event())["id"]})
    assert answer.status_code == 201
    booking_id = answer.json()["booking"]["id"]
    assert (await ada.get("/bookings/")).status_code == 200
    assert (await ada.get(f"/bookings/{booking_id}/")).status_code == 200
    assert (await ada.post(f"/bookings/{booking_id}/cancel/")).status_code == 200


# What is agreed stays, and a facilitator's refund


async def test_booking_keeps_its_price_and_shows_the_current_price_of_the_event(john: Person, ada: Person) -> None:
    event = await john.creates_event(price=10, currency="EUR")
    booked = await ada.books(event["id"])
    assert (await john.put(f"/events/{event['id']}", {"price": 50})).status_code == 200
    shown = (await ada.get(f"/bookings/{booked['id']}")).json()
    [listed] = [each for each in (await ada.get("/bookings")).json()["bookings"] if each["id"] == booked["id"]]
    [seen] = (await john.get(f"/facilitator/events/{event['id']}/bookings")).json()["bookings"]
    for each in (booked, shown, listed, seen):
        assert (each["price"], each["currency"], each["facilitator_id"]) == (10, "EUR", john.id)
    assert (shown["event"]["price"], listed["event"]["price"]) == (50, 50)


REFUNDED = {
    "message": "Refund requested",
    "booking_id": int,
    "refund": {"refund_id": str, "amount": NUMBER, "currency": str, "status": str},
}


async def test_facilitator_refunds_a_booking_of_a_past_event(
    john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    event = await john.creates_event(price=30)
    booked = await ada.books(event["id"])
    path = f"/bookings/{booked['id']}/refund"
    nothing = refused("There is nothing to refund for this booking", "nothing_to_refund")
    answer = await john.post(path)
    assert (answer.status_code, misfits(nothing, answer.json())) == (400, [])
    await john.post(f"/facilitator/bookings/{booked['id']}/payment")
    await shared_database.execute(
        "UPDATE events SET starts_at = now() - interval '2 d', ends_at = now() - interval '1 d' WHERE id = $1",
        event["id"],
    )
    for amount in (0, -1, 0.001, "much", 10**30):
        answer = await john.post(path, {"amount": amount})
        assert (answer.status_code, misfits(invalid("amount"), answer.json())) == (400, []), answer.text
    answer = await john.post(path, {"amount": 12.5, "note": "what is not known is ignored"})
    assert answer.status_code == 200, answer.text
    assert not misfits(REFUNDED, answer.json())
    answer = await john.post(path, {"amount": 17.51})
    too_much = refused("At most 17.50 INR can be refunded", "refund_exceeds_payment")
    assert (answer.status_code, misfits(too_much, answer.json())) == (400, [])
    assert (await ada.get(f"/bookings/{booked['id']}")).json()["payment_status"] == "completed"
    assert (await john.post(path, {})).json()["refund"]["amount"] == 17.5
    assert (await ada.get(f"/bookings/{booked['id']}")).json()["payment_status"] == "refunded"
    answer = await john.post(path, {"amount": None})
    assert (answer.status_code, misfits(nothing, answer.json())) == (400, [])


async def test_only_the_facilitator_of_the_event_can_refund(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, shared_people: People
) -> None:
    booked = await ada.books((await john.creates_event(price=30))["id"])
    path = f"/bookings/{booked['id']}/refund"
    other = await shared_people.facilitator("Another")
    not_yours = refused("You can only manage your own events", "not_your_event")
    for answer, status, body in (
        (await shared_api.post(path), 401, UNAUTHENTICATED),
        (await ada.post(path), 403, refused("Insufficient permissions", "forbidden")),
        (await other.post(path), 403, not_yours),
    ):
        assert (answer.status_code, misfits(body, answer.json())) == (status, [])
    for wanted in ("0", "9223372036854775807", "abc"):
        answer = await john.post(f"/bookings/{wanted}/refund")
        assert (answer.status_code, misfits(NO_BOOKING, answer.json())) == (404, [])


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
