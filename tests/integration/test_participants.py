"""What facilitators do for the participants of their events, over HTTP: the rules, and who may do it."""

from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.people import People, Person


@pytest.fixture(scope="module")
async def root(shared_people: People, shared_database: asyncpg.Connection) -> Person:
    """An admin."""
    person = await shared_people.user("Katherine Johnson")
    await shared_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
    return person


@pytest.fixture(scope="module")
async def jane(shared_people: People) -> Person:
    """Another facilitator."""
    return await shared_people.facilitator("Jane")


def code(answer: httpx.Response) -> tuple[int, Any]:
    """Status and code of a refusal in contract B's shape."""
    body = answer.json()
    assert {"error", "code", "request_id"} <= body.keys(), body
    return answer.status_code, body["code"]


# Cancelling one participant


async def test_a_facilitator_cancels_one_participant_and_the_others_stay(
    john: Person, ada: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    """What was paid on the spot is refunded in full; the seat is free again."""
    event = await john.creates_event(max_participants=2, price=30)
    bob = await shared_people.user("Bob")
    booking, other = await ada.books(event["id"]), await bob.books(event["id"])
    assert (await john.post(f"/facilitator/bookings/{booking['id']}/payment")).status_code == 200

    answer = await john.post(f"/facilitator/bookings/{booking['id']}/cancel")

    assert answer.status_code == 200
    assert answer.json()["message"] == "Booking cancelled successfully"
    assert (answer.json()["refund"]["amount"], answer.json()["refund"]["currency"]) == (30, "INR")
    shown = (await ada.get(f"/bookings/{booking['id']}")).json()
    assert (shown["status"], shown["payment_status"]) == ("cancelled", "refunded")
    assert (await bob.get(f"/bookings/{other['id']}")).json()["status"] == "confirmed"
    assert (await john.get(f"/events/{event['id']}")).json()["current_participants"] == 1
    sent = await shared_database.fetch(
        "SELECT destination, snapshot->>'reason' AS reason FROM outbox WHERE lane = $1 AND fact = 'booking_cancelled'",
        f"booking:{booking['id']}",
    )
    assert {tuple(row) for row in sent} == {(to, "by_organiser") for to in ("crm", "email", "realtime")}
    again = await john.post(f"/facilitator/bookings/{booking['id']}/cancel")
    assert code(again) == (400, "booking_already_cancelled")


async def test_a_facilitators_own_booking_is_cancelled_as_the_organisers(
    john: Person, shared_database: asyncpg.Connection
) -> None:
    """Through this path the refund policy never counts, also not for their own booking."""
    event = await john.creates_event(price=30)
    await shared_database.execute("UPDATE events SET refund_policy = '[]' WHERE id = $1", event["id"])
    booking = await john.books(event["id"])
    await john.post(f"/facilitator/bookings/{booking['id']}/payment")
    answer = await john.post(f"/facilitator/bookings/{booking['id']}/cancel")
    assert answer.json()["refund"]["amount"] == 30


async def test_an_admin_cancels_a_participant_of_any_event(john: Person, ada: Person, root: Person) -> None:
    booking = await ada.books((await john.creates_event(price=0))["id"])
    answer = await root.post(f"/facilitator/bookings/{booking['id']}/cancel")
    assert (answer.status_code, answer.json()["refund"]) == (200, None)


async def test_a_participant_of_an_event_that_began_is_not_cancelled(
    john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    event = await john.creates_event(price=0)
    booking = await ada.books(event["id"])
    await shared_database.execute("UPDATE events SET starts_at = now() WHERE id = $1", event["id"])
    assert code(await john.post(f"/facilitator/bookings/{booking['id']}/cancel")) == (400, "booking_over")


async def test_nothing_else_than_a_booking_is_cancelled(john: Person) -> None:
    for booking_id in ("9007199254740993", "0", "-1", "x", "1e3"):
        answer = await john.post(f"/facilitator/bookings/{booking_id}/cancel")
        assert code(answer) == (404, "booking_not_found")


async def test_only_the_events_facilitator_and_admins_act_on_participants(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, jane: Person
) -> None:
    """A caller without a token, the participant and another facilitator are refused, and nothing changes."""
    event = await john.creates_event(price=0)
    booking = await ada.books(event["id"])
    for path in (f"/facilitator/bookings/{booking['id']}/cancel",):
        assert code(await shared_api.post(path)) == (401, "invalid_token")
        assert code(await ada.post(path)) == (403, "forbidden")
        assert code(await jane.post(path)) == (403, "not_your_event")
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["status"] == "confirmed"
