"""Contract B, endpoints 17 to 19: what facilitators see and do, in the document's order."""

import asyncpg
import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.contracts.test_b_events import EVENT, NO_EVENT, NO_IDS, NOT_ALLOWED, NOT_YOURS, UNAUTHENTICATED
from tests.support.people import People, Person
from tests.support.shapes import NUMBER, Instant, Nullable, misfits

ATTENDEE = {"id": int, "name": str, "email": str, "phone": Nullable(str)}
BOOKING = {
    "id": int,
    "booking_reference": str,
    "status": str,
    "payment_status": str,
    "user": ATTENDEE,
    "created_at": Instant,
}


# 17. List Facilitator Events


async def test_17_facilitator_lists_all_own_events(people: People, database: asyncpg.Connection) -> None:
    john, jane = await people.facilitator(), await people.facilitator("Jane")
    ahead, cancelled, past = [await john.creates_event(in_days=day) for day in (1, 2, 3)]
    await jane.creates_event()
    await john.post(f"/facilitator/events/{cancelled['id']}/cancel")
    await database.execute(
        "UPDATE events SET starts_at = now() - '2 days'::interval, ends_at = now() - '1 day'::interval WHERE id = $1",
        past["id"],
    )
    answer = await john.get("/facilitator/events")
    assert answer.status_code == 200
    assert not misfits({"events": [EVENT], "next_cursor": None}, answer.json())
    listed = [event["id"] for event in answer.json()["events"]]
    assert listed == [cancelled["id"], ahead["id"], past["id"]]
    assert [event["is_active"] for event in answer.json()["events"]] == [False, True, True]

    page = (await john.get("/facilitator/events?limit=2")).json()
    assert [event["id"] for event in page["events"]] == listed[:2]
    rest = (await john.get("/facilitator/events", params={"cursor": page["next_cursor"]})).json()
    assert ([event["id"] for event in rest["events"]], rest["next_cursor"]) == (listed[2:], None)


# 18. Get Event Bookings


async def test_18_facilitator_lists_the_bookings_of_an_event(john: Person, shared_people: People) -> None:
    event = await john.creates_event(max_participants=10)
    ada, bob = await shared_people.user("Ada"), await shared_people.user("Bob")
    await ada.put("/profile", {"phone": "+1234567890"})
    first, second = await ada.books(event["id"]), await bob.books(event["id"])
    await bob.post(f"/bookings/{second['id']}/cancel")

    answer = await john.get(f"/facilitator/events/{event['id']}/bookings")
    assert answer.status_code == 200
    counted = {"id": event["id"], "title": event["title"], "max_participants": 10, "current_participants": 1}
    assert not misfits({"event": counted, "bookings": [BOOKING]}, answer.json())
    newer, older = answer.json()["bookings"]
    assert (newer["id"], newer["status"]) == (second["id"], "cancelled")
    attendee = {"id": ada.id, "name": "Ada", "email": ada.email, "phone": "+1234567890"}
    assert (older["id"], older["status"], older["user"]) == (first["id"], "confirmed", attendee)

    page = (await john.get(f"/facilitator/events/{event['id']}/bookings?limit=1")).json()
    assert [booking["id"] for booking in page["bookings"]] == [second["id"]]
    path = f"/facilitator/events/{event['id']}/bookings"
    rest = (await john.get(path, params={"cursor": page["next_cursor"]})).json()
    assert [booking["id"] for booking in rest["bookings"]] == [first["id"]]


# 19. Cancel Event


async def test_19_cancelling_an_event_cancels_its_bookings(
    john: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    event = await john.creates_event(price=25)
    ada, bob = await shared_people.user(), await shared_people.user()
    booking, given_up = await ada.books(event["id"]), await bob.books(event["id"])
    await bob.post(f"/bookings/{given_up['id']}/cancel")
    answer = await john.post(f"/facilitator/events/{event['id']}/cancel")
    assert answer.status_code == 200
    shape = {"message": "Event cancelled successfully", "refunds_processed": int, "total_refund_amount": NUMBER}
    assert not misfits(shape, answer.json())

    shown = (await john.get(f"/events/{event['id']}")).json()
    assert (shown["is_active"], shown["current_participants"]) == (False, 0)
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["status"] == "cancelled"
    rows = await shared_database.fetch(
        "SELECT lane, destination FROM outbox WHERE snapshot->>'reason' = 'event_cancelled' "
        "AND lane IN ($1, $2) ORDER BY destination",
        f"booking:{booking['id']}",
        f"booking:{given_up['id']}",
    )
    ordering_key = f"booking:{booking['id']}"
    assert [tuple(row) for row in rows] == [(ordering_key, "crm"), (ordering_key, "email"), (ordering_key, "realtime")]


async def test_19_cancelled_event_cannot_be_cancelled_again(john: Person) -> None:
    event = await john.creates_event()
    await john.post(f"/facilitator/events/{event['id']}/cancel")
    answer = await john.post(f"/facilitator/events/{event['id']}/cancel")
    assert answer.status_code == 400
    assert not misfits({"error": "Event is cancelled", "code": "event_cancelled", "request_id": str}, answer.json())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/facilitator/events"),
        ("GET", "/facilitator/events/{id}/bookings"),
        ("POST", "/facilitator/events/{id}/cancel"),
    ],
)
async def test_17_to_19_require_the_facilitator_of_the_event(
    shared_api: httpx.AsyncClient, shared_people: People, john: Person, ada: Person, method: str, path: str
) -> None:
    event = await john.creates_event()
    here = path.format(id=event["id"])
    answer = await shared_api.request(method, here)
    assert (answer.status_code, misfits(UNAUTHENTICATED, answer.json())) == (401, [])
    answer = await shared_api.request(method, here, headers=ada.headers)
    assert (answer.status_code, misfits(NOT_ALLOWED, answer.json())) == (403, [])
    if here != path:
        other = await shared_people.facilitator("Somebody Else")
        answer = await shared_api.request(method, here, headers=other.headers)
        assert (answer.status_code, misfits(NOT_YOURS, answer.json())) == (403, [])
    assert (await shared_api.get(f"/events/{event['id']}")).json()["is_active"] is True


@pytest.mark.parametrize("event_id", NO_IDS)
async def test_18_19_unknown_event_returns_404(john: Person, event_id: str) -> None:
    for answer in [
        await john.get(f"/facilitator/events/{event_id}/bookings"),
        await john.post(f"/facilitator/events/{event_id}/cancel"),
    ]:
        assert answer.status_code == 404
        assert not misfits(NO_EVENT, answer.json())


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
