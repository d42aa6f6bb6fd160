"""Sessions that are moved, and what is kept of them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.appointments import a_price_for, at, books, free_hour, in_status, uuid_of, wanted
from tests.support.people import People, Person


@pytest.fixture(scope="module")
async def coach(john: Person) -> str:
    return await uuid_of(john)


def shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def moves(person: Person, booking: str, begins: datetime, **more: Any) -> httpx.Response:
    return await person.post(f"/booking/{booking}/reschedule", json={"session_datetime": shown(begins)} | more)


@pytest.mark.parametrize("status", ["pending", "confirmed"])
async def test_rescheduling_keeps_the_status_and_frees_the_old_time(
    ada: Person, john: Person, coach: str, status: str, shared_people: People
) -> None:
    booking = await in_status(status, ada, john, coach)
    old = (await ada.get(f"/booking/{booking}")).json()
    begins = free_hour()
    answer = await moves(ada, booking, begins)
    assert answer.status_code == 200
    assert answer.json() == old | {
        "session_datetime": shown(begins),
        "end_datetime": shown(begins + timedelta(hours=1)),
        "sequence": old["sequence"] + 1,
        "updated_at": answer.json()["updated_at"],
    }
    freed = datetime.fromisoformat(old["session_datetime"])
    await books(await shared_people.user(), coach, freed)
    assert (await moves(ada, booking, freed)).json()["detail"] == "Time slot is not available"


async def test_rescheduling_to_the_same_time_changes_nothing_and_sends_nothing(
    ada: Person, john: Person, coach: str, shared_database: asyncpg.Connection
) -> None:
    booking = await in_status("confirmed", ada, john, coach)
    old = (await ada.get(f"/booking/{booking}")).json()
    messages = await shared_database.fetchval("SELECT count(*) FROM outbox")
    for person in (ada, john):
        answer = await moves(person, booking, datetime.fromisoformat(old["session_datetime"]), duration_minutes=60)
        assert (answer.status_code, answer.json()) == (200, old)
    assert len((await ada.get(f"/booking/{booking}/history")).json()["history"]) == 2
    assert await shared_database.fetchval("SELECT count(*) FROM outbox") == messages


async def test_started_appointment_cannot_be_rescheduled_by_the_client(
    ada: Person, john: Person, coach: str, shared_database: asyncpg.Connection
) -> None:
    booking = await in_status("confirmed", ada, john, coach)
    past = {name: f"{name} - interval '400 days'" for name in ("starts_at", "ends_at", "busy_from", "busy_until")}
    moved = ", ".join(f"{name} = {value}" for name, value in past.items())
    await shared_database.execute(f"UPDATE coaching_bookings SET {moved} WHERE id = $1::text::uuid", booking)
    answer = await moves(ada, booking, free_hour())
    assert (answer.status_code, answer.json()["code"]) == (400, "coaching_has_begun")
    assert (await moves(john, booking, free_hour())).status_code == 200


@pytest.mark.parametrize("status", ["completed", "cancelled"])
async def test_ended_appointment_cannot_be_rescheduled(ada: Person, john: Person, coach: str, status: str) -> None:
    booking = await in_status(status, ada, john, coach)
    answer = await moves(ada, booking, free_hour())
    assert (answer.status_code, answer.json()["code"]) == (400, "coaching_not_reschedulable")


async def test_new_time_may_overlap_the_old_time(ada: Person, coach: str) -> None:
    begins = free_hour()
    booking = (await books(ada, coach, begins))["id"]
    answer = await moves(ada, booking, begins + timedelta(minutes=15), duration_minutes=30)
    assert (answer.status_code, answer.json()["duration_minutes"]) == (200, 30)


@pytest.mark.parametrize("minutes", [14, 481, 0, -1, 2**63, "x", True])
async def test_new_length_has_the_same_limits(ada: Person, coach: str, minutes: Any) -> None:
    booking = (await books(ada, coach, free_hour()))["id"]
    answer = await moves(ada, booking, free_hour(), duration_minutes=minutes)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("duration_minutes: ")


async def test_client_is_limited_to_the_hours_of_the_coach_and_the_coach_is_not(
    ada: Person, john: Person, coach: str
) -> None:
    booking = (await books(ada, coach, free_hour()))["id"]
    late = at(22, in_days=200)
    assert (await moves(ada, booking, late)).json()["detail"] == "Time slot is not available"
    assert (await moves(john, booking, late)).json()["session_datetime"] == shown(late)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    for person in (ada, john):
        answer = await moves(person, booking, yesterday)
        assert (answer.status_code, answer.json()["detail"]) == (400, "Session must be scheduled in the future")


async def test_length_of_a_priced_appointment_is_fixed(people: People, database_url: str) -> None:
    guest, host = await people.user(), await people.facilitator()
    coach = await uuid_of(host)
    await a_price_for(database_url, coach)
    booking = (await books(guest, coach, at(10)))["id"]
    answer = await moves(guest, booking, at(11), duration_minutes=90)
    assert (answer.status_code, answer.json()["code"]) == (400, "priced_length_fixed")
    answer = await moves(guest, booking, at(11), duration_minutes=60)
    assert (answer.status_code, answer.json()["price"]) == (200, 1500)


# Races


async def _race_into_one_hour(people: People) -> tuple[list[int], str, str]:
    """Eight sessions with one coach are all moved to the same hour at once."""
    guest, host = await people.user(), await people.facilitator()
    coach, goal = await uuid_of(host), shown(at(16))
    sessions = [(await books(guest, coach, at(9 + n % 4, in_days=4 + n // 4)))["id"] for n in range(8)]
    answers = await asyncio.gather(*(moves(host if n % 2 else guest, sessions[n], at(16)) for n in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 400}
    assert {each.json()["detail"] for each in answers if each.status_code == 400} <= {"Time slot is not available"}
    return [answer.status_code for answer in answers], coach, goal


async def _at(database: asyncpg.Connection, coach: str, goal: str) -> int:
    count: int = await database.fetchval(
        """SELECT count(*) FROM coaching_bookings b JOIN users u ON u.id = b.coach_id
           WHERE u.uuid = $1 AND b.starts_at = $2 AND b.status IN ('pending', 'confirmed')""",
        coach,
        datetime.fromisoformat(goal),
    )
    return count


async def test_of_many_moves_to_one_time_one_succeeds(people: People, database: asyncpg.Connection) -> None:
    for _ in range(3):
        statuses, coach, goal = await _race_into_one_hour(people)
        assert sorted(statuses) == [200, *[400] * 7]
        assert await _at(database, coach, goal) == 1


async def test_without_constraint_concurrent_moves_overlap(people: People, database: asyncpg.Connection) -> None:
    """Negative control: the check before the move does not help with concurrent checks."""
    await database.execute("ALTER TABLE coaching_bookings DROP CONSTRAINT ex_coaching_bookings_one_at_a_time")
    for _ in range(20):
        _, coach, goal = await _race_into_one_hour(people)
        if await _at(database, coach, goal) > 1:
            return
    pytest.fail("the race does not reach what the constraint guards")


async def test_concurrent_move_and_booking_of_one_time(people: People, database: asyncpg.Connection) -> None:
    host = await people.facilitator()
    coach, guests = await uuid_of(host), [await people.user() for _ in range(4)]
    mine = (await books(guests[0], coach, at(9)))["id"]
    answers = await asyncio.gather(
        moves(guests[0], mine, at(14)), *(guest.post("/booking", json=wanted(coach, at(14))) for guest in guests)
    )
    assert [answer.status_code for answer in answers if answer.status_code < 400] in ([200], [201])
    assert await _at(database, coach, shown(at(14))) == 1


async def test_concurrent_swap_of_two_appointments_does_not_deadlock(people: People) -> None:
    """Each wants what the other has: neither gets it, and neither hangs or breaks."""
    guest, host = await people.user(), await people.facilitator()
    coach = await uuid_of(host)
    ten, twelve = [(await books(guest, coach, at(hour)))["id"] for hour in (10, 12)]
    for _ in range(5):
        answers = await asyncio.gather(moves(guest, ten, at(12)), moves(host, twelve, at(10)))
        assert [answer.status_code for answer in answers] == [400, 400]


# Notes


async def test_client_and_coach_share_the_notes(ada: Person, john: Person, coach: str) -> None:
    made = await books(ada, coach, free_hour(), notes="About my work")
    del made["payment_url"]
    for person, notes in ((john, "Bring your plan\n– John"), (ada, "I bring it"), (ada, ""), (john, None)):
        answer = await person.patch(f"/booking/{made['id']}", {"notes": notes})
        assert answer.status_code == 200
        assert answer.json() == made | {"notes": notes, "updated_at": answer.json()["updated_at"]}
        assert (await ada.get(f"/booking/{made['id']}")).json() == answer.json()
    await john.patch(f"/booking/{made['id']}", {"notes": None})
    history = (await ada.get(f"/booking/{made['id']}/history")).json()["history"]
    assert [(entry["change"], entry["after"]["notes"]) for entry in history] == [
        ("created", "About my work"),
        ("notes_changed", "Bring your plan\n– John"),
        ("notes_changed", "I bring it"),
        ("notes_changed", ""),
        ("notes_changed", None),
    ]


@pytest.mark.parametrize("status", ["completed", "cancelled"])
async def test_notes_can_be_changed_after_a_session(ada: Person, john: Person, coach: str, status: str) -> None:
    booking = await in_status(status, ada, john, coach)
    assert (await john.patch(f"/booking/{booking}", {"notes": "Next time: goals"})).json()["status"] == status


@pytest.mark.parametrize("body", [{}, {"notes": 5}, {"notes": "n" * 2001}, {"notes": "\x07"}, []])
async def test_invalid_notes_are_rejected(ada: Person, coach: str, body: Any) -> None:
    booking = (await books(ada, coach, free_hour(), notes="Kept"))["id"]
    answer = await ada.patch(f"/booking/{booking}", body)
    assert answer.status_code == 400
    assert (await ada.get(f"/booking/{booking}")).json()["notes"] == "Kept"
