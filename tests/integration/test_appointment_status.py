"""The status of an appointment: every transition between the four statuses, by every role."""

import asyncio

import asyncpg
import pytest

from domain.appointments import AppointmentStatus
from tests.support.appointments import books, free_hour, in_status, promoted, status_of, uuid_of, wanted
from tests.support.people import People, Person

ALLOWED = {
    ("pending", "confirmed"),
    ("pending", "cancelled"),
    ("confirmed", "completed"),
    ("confirmed", "cancelled"),
}
"""As the document lists them."""
PAIRS = [(before, after) for before in AppointmentStatus for after in AppointmentStatus]


@pytest.fixture(scope="module")
async def coach(john: Person) -> str:
    return await uuid_of(john)


@pytest.fixture(scope="module")
async def admin(shared_people: People, shared_database: asyncpg.Connection) -> Person:
    return await promoted(await shared_people.user(), shared_database)


@pytest.fixture(scope="module")
async def stranger(shared_people: People) -> Person:
    return await shared_people.user()


def test_all_sixteen_pairs_are_tested() -> None:
    assert len(PAIRS) == 16


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=str)
async def test_coach_and_admin_can_make_the_documented_transitions_only(
    ada: Person, john: Person, coach: str, admin: Person, before: str, after: str
) -> None:
    for person in (john, admin):
        booking = await in_status(before, ada, john, coach)
        answer = await person.patch(f"/booking/{booking}/status", {"status": after})
        if (before, after) in ALLOWED:
            assert (answer.status_code, answer.json()["status"]) == (200, after)
            assert await status_of(ada, booking) == after
        else:
            assert answer.status_code == 400
            assert answer.json()["detail"] == f"Cannot change status from {before} to {after}"
            assert answer.json()["code"] == "invalid_transition"
            assert await status_of(ada, booking) == before


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=str)
async def test_client_can_only_cancel_and_other_users_nothing(
    ada: Person, john: Person, coach: str, stranger: Person, before: str, after: str
) -> None:
    booking = await in_status(before, ada, john, coach)
    answer = await stranger.patch(f"/booking/{booking}/status", {"status": after})
    assert (answer.status_code, answer.json()["detail"]) == (403, "Unauthorized to update this booking")
    assert await status_of(ada, booking) == before
    answer = await ada.patch(f"/booking/{booking}/status", {"status": after})
    if (before, after) not in ALLOWED:
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_transition")
    elif after != "cancelled":
        assert (answer.status_code, answer.json()["code"]) == (403, "coach_decides")
        assert answer.json()["detail"] == "Only the coach or an admin can set this status"
    else:
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert await status_of(ada, booking) == (after if answer.status_code == 200 else before)


@pytest.mark.parametrize("before", AppointmentStatus)
async def test_only_an_active_appointment_can_be_deleted(
    ada: Person, john: Person, coach: str, admin: Person, stranger: Person, before: str
) -> None:
    for person in (ada, john, admin):
        booking = await in_status(before, ada, john, coach)
        assert (await stranger.delete(f"/booking/{booking}")).status_code == 403
        answer = await person.delete(f"/booking/{booking}")
        if before in {"pending", "confirmed"}:
            assert (answer.status_code, answer.content) == (204, b"")
            assert await status_of(ada, booking) == "cancelled"
        else:
            assert (answer.status_code, answer.json()["code"]) == (400, "coaching_not_cancellable")
            assert await status_of(ada, booking) == before


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
