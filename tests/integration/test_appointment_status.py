"""The status of an appointment over HTTP, and under concurrent requests."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from tests.support.appointments import a_price_for, books, free_hour, in_status, status_of, uuid_of, wanted
from tests.support.people import People, Person
from tests.support.shapes import Uuid, misfits


@pytest.fixture(scope="module")
async def coach(john: Person) -> str:
    return await uuid_of(john)


async def test_refused_changes_have_their_status_and_code(ada: Person, john: Person, coach: str) -> None:
    booking = await in_status("pending", ada, john, coach)
    path, later = f"/booking/{booking}", {"session_datetime": free_hour().isoformat()}
    answers = [
        await john.patch(f"{path}/status", {"status": "completed"}),
        await ada.patch(f"{path}/status", {"status": "confirmed"}),
        await ada.delete(path),
        await ada.delete(path),
        await ada.post(f"{path}/reschedule", json=later),
    ]
    assert [(each.status_code, each.json()["code"] if each.content else None) for each in answers] == [
        (400, "invalid_transition"),
        (403, "coach_decides"),
        (204, None),
        (400, "coaching_not_cancellable"),
        (400, "coaching_not_reschedulable"),
    ]
    assert answers[0].json()["detail"] == "Cannot change status from pending to completed"
    assert answers[1].json()["detail"] == "Only the coach or an admin can set this status"
    assert await status_of(ada, booking) == "cancelled"


async def test_payment_on_site_is_shown(ada: Person, shared_people: People, shared_database_url: str) -> None:
    host = await shared_people.facilitator()
    coach = await uuid_of(host)
    await a_price_for(shared_database_url, coach)
    booking = await books(ada, coach, free_hour())
    assert (booking["payment_url"], booking["hold_until"], booking["payment_status"]) == (None, None, "pending")
    path = f"/booking/{booking['id']}"
    assert (await ada.post(f"{path}/pay")).json() == {"payment_url": None}
    answer = await host.post(f"{path}/payment")
    assert answer.status_code == 200
    assert not misfits({"status": "confirmed", "payment_status": "completed", "payment_id": Uuid}, answer.json())
    await host.delete(path)
    answer = await host.post(f"{path}/payment")
    assert (answer.status_code, answer.json()["payment_status"]) == (200, "refunded")


async def test_of_two_overlapping_appointments_one_is_confirmed(ada: Person, john: Person, coach: str) -> None:
    """Of two overlapping sessions one alone is even pending, so at most one is ever confirmed."""
    begins = free_hour()
    answers = await asyncio.gather(*(ada.post("/booking", json=wanted(coach, begins)) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [201, 400]
    booking = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
    path = f"/booking/{booking}/status"
    answers = await asyncio.gather(*(john.patch(path, {"status": "confirmed"}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400, 400]
    history = (await john.get(f"/booking/{booking}/history")).json()["history"]
    assert [entry["change"] for entry in history] == ["created", "confirmed"]


async def test_concurrent_confirmation_and_cancellation_end_in_one_state(
    ada: Person, john: Person, coach: str, shared_database: asyncpg.Connection
) -> None:
    for _ in range(5):
        booking = (await books(ada, coach, free_hour()))["id"]
        confirmed, cancelled = await asyncio.gather(
            john.patch(f"/booking/{booking}/status", {"status": "confirmed"}), ada.delete(f"/booking/{booking}")
        )
        # Either way it ends cancelled: what was confirmed first can still be given up.
        assert cancelled.status_code == 204
        assert await status_of(ada, booking) == "cancelled"
        history = (await john.get(f"/booking/{booking}/history")).json()["history"]
        ways = {200: ["created", "confirmed", "cancelled"], 400: ["created", "cancelled"]}
        assert [entry["change"] for entry in history] == ways[confirmed.status_code]
        messages = await shared_database.fetch(
            "SELECT fact FROM outbox WHERE destination = 'crm' AND snapshot -> 'coaching' ->> 'id' = $1 ORDER BY id",
            booking,
        )
        assert [row["fact"] for row in messages] == [f"booking_{entry['change']}" for entry in history]


async def test_concurrent_requests_with_one_key_make_one_appointment(
    ada: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    coach, key = await uuid_of(await shared_people.facilitator()), str(uuid4())
    body, headers = wanted(coach, free_hour()), ada.headers | {"Idempotency-Key": key}
    answers = await asyncio.gather(*(ada.api.post("/booking", json=body, headers=headers) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    of_coach = "SELECT count(*) FROM coaching_bookings b JOIN users u ON u.id = b.coach_id WHERE u.uuid::text = $1"
    assert await shared_database.fetchval(of_coach, coach) == 1
