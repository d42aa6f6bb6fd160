"""Rescheduling of appointments over HTTP, and under concurrent requests."""

import asyncio
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.appointments import at, books, free_hour, uuid_of, wanted
from tests.support.people import People, Person


@pytest.fixture(scope="module")
async def coach(john: Person) -> str:
    return await uuid_of(john)


def shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def moves(person: Person, booking: str, begins: datetime, **more: Any) -> httpx.Response:
    return await person.post(f"/booking/{booking}/reschedule", json={"session_datetime": shown(begins)} | more)


@pytest.fixture(scope="module")
async def booking(ada: Person, coach: str) -> str:
    """Every request to change it is refused."""
    return str((await books(ada, coach, free_hour(), notes="Kept"))["id"])


@pytest.mark.parametrize("minutes", [14, 481, 0, -1, 2**63, "x", True])
async def test_new_length_has_the_same_limits(ada: Person, booking: str, minutes: Any) -> None:
    answer = await moves(ada, booking, free_hour(), duration_minutes=minutes)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("duration_minutes: ")


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


@pytest.mark.parametrize("body", [{}, {"notes": 5}, {"notes": "n" * 2001}, {"notes": "\x07"}, []])
async def test_invalid_notes_are_rejected(ada: Person, booking: str, body: Any) -> None:
    answer = await ada.patch(f"/booking/{booking}", body)
    assert answer.status_code == 400
    assert (await ada.get(f"/booking/{booking}")).json()["notes"] == "Kept"
