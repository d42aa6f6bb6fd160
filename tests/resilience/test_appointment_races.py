"""Many clients book one coach at two API processes at once: no appointments overlap.

The negative control runs on a database without the exclusion constraint.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.resilience.conftest import Site, open_site
from tests.support.callers import Answer
from tests.support.load import Member, many_users
from tests.support.process_harness import LONG_RUN

MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=5)
TAKEN = (400, "Time slot is not available")
BOOKED = (201, "")


@pytest.fixture(scope="module")
async def without_guard(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """The same two processes on a database that lets two sessions overlap."""
    async with open_site(postgres, redis_url, tmp_path_factory.mktemp("unguarded")) as opened:
        await opened.database.execute(
            "ALTER TABLE coaching_bookings DROP CONSTRAINT ex_coaching_bookings_one_at_a_time"
        )
        yield opened


class Coach:
    """One of a site, on duty around the clock."""

    def __init__(self, site: Site, member: Member, uuid: str) -> None:
        self.site, self.member, self.uuid = site, member, uuid

    @classmethod
    async def of(cls, site: Site, **buffers: int) -> "Coach":
        (member,) = await many_users(site.database, 1, role="facilitator")
        days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
        said = {"weekly_hours": {day: [{"start": "00:00", "end": "24:00"}] for day in days}} | buffers
        (answer,) = await site.all_at_once([member.http_request("PUT", "/coach/availability", said)])
        assert answer.status == 200, answer
        return cls(site, member, str(await site.database.fetchval("SELECT uuid FROM users WHERE id = $1", member.id)))

    def wanted(self, client: Member, hour: float, minutes: int = 60) -> bytes:
        begins = MIDNIGHT + timedelta(hours=hour)
        body = {"coach_id": self.uuid, "session_datetime": begins.isoformat(), "duration_minutes": minutes}
        return client.http_request("POST", "/booking", body)

    async def race(self, wanted: Sequence[tuple[float, int]]) -> list[Answer]:
        """Each by a client of their own, all at once."""
        clients = await self.site.users(len(wanted))
        requests = [self.wanted(client, *when) for client, when in zip(clients, wanted, strict=True)]
        return await self.site.all_at_once(requests)

    async def sessions(self) -> list[asyncpg.Record]:
        return await self.site.database.fetch(
            """SELECT starts_at, ends_at, busy_from, busy_until FROM coaching_bookings
               WHERE coach_id = $1 AND status <> 'cancelled' ORDER BY starts_at""",
            self.member.id,
        )

    async def overlaps(self) -> int:
        count: int = await self.site.database.fetchval(
            """SELECT count(*) FROM coaching_bookings a JOIN coaching_bookings b
               ON a.coach_id = b.coach_id AND a.id < b.id AND a.busy_from < b.busy_until AND b.busy_from < a.busy_until
               WHERE a.coach_id = $1 AND a.status <> 'cancelled' AND b.status <> 'cancelled'""",
            self.member.id,
        )
        return count


def outcomes(answers: Sequence[Answer]) -> Counter[tuple[int, Any]]:
    return Counter((answer.status, answer.json.get("detail", "")) for answer in answers)


def a_hundred_overlapping(seed: int) -> list[tuple[float, int]]:
    luck = random.Random(seed)
    return [(luck.randrange(0, 20 * 4) / 4, luck.choice([15, 30, 45, 60, 90, 240])) for _ in range(100)]


@pytest.mark.parametrize("seed", [1, 2] if LONG_RUN else [1])
async def test_hundred_overlapping_requests_leave_no_overlap(site: Site, seed: int) -> None:
    coach = await Coach.of(site)
    answers = await coach.race(a_hundred_overlapping(seed))
    counted = outcomes(answers)
    assert set(counted) == {BOOKED, TAKEN}
    assert await coach.overlaps() == 0
    assert counted[BOOKED] == len(await coach.sessions()) > 5


async def test_without_constraint_the_same_race_overlaps(without_guard: Site) -> None:
    for seed in (1, 2, 3):
        coach = await Coach.of(without_guard)
        await coach.race(a_hundred_overlapping(seed))
        if await coach.overlaps():
            return
    raise AssertionError("three races have left no overlap")


async def test_adjacent_appointments_are_both_booked(site: Site) -> None:
    coach = await Coach.of(site)
    answers = await coach.race([(hour, 60) for hour in range(10, 20)])
    assert outcomes(answers) == {BOOKED: 10}


async def test_one_of_many_requests_for_the_same_time_succeeds(site: Site) -> None:
    coach = await Coach.of(site)
    assert outcomes(await coach.race([(10, 60)] * 40)) == {BOOKED: 1, TAKEN: 39}


async def test_buffers_hold_in_a_race(site: Site) -> None:
    coach = await Coach.of(site, buffer_before_minutes=15, buffer_after_minutes=15)
    answers = await coach.race([(10 + half / 2, 30) for half in range(20)])
    assert set(outcomes(answers)) == {BOOKED, TAKEN}
    sessions = await coach.sessions()
    assert len(sessions) > 1
    for earlier, later in pairwise(sessions):
        assert later["starts_at"] - earlier["ends_at"] >= timedelta(minutes=30)


async def test_booking_and_move_to_the_same_time_do_not_both_succeed(site: Site) -> None:
    for _ in range(5 if LONG_RUN else 2):
        coach = await Coach.of(site)
        client, other = await site.users(2)
        (booked,) = await site.all_at_once([coach.wanted(client, 8)])
        to = {"session_datetime": (MIDNIGHT + timedelta(hours=10)).isoformat()}
        moves = client.http_request("POST", f"/booking/{booked.json['id']}/reschedule", to)
        answers = await site.all_at_once([moves, coach.wanted(other, 10.5)])
        assert sorted(answer.status for answer in answers) in ([200, 400], [201, 400]), answers
        assert TAKEN in outcomes(answers)
        assert await coach.overlaps() == 0


async def test_appointment_is_not_booked_over_an_event_of_the_coach(site: Site) -> None:
    coach = await Coach.of(site)
    event = {
        "title": "Yoga",
        "start_datetime": (MIDNIGHT + timedelta(hours=10)).isoformat(),
        "end_datetime": (MIDNIGHT + timedelta(hours=12)).isoformat(),
        "max_participants": 5,
    }
    (made,) = await site.all_at_once([coach.member.http_request("POST", "/events", event)])
    assert made.status == 201
    answers = await coach.race([(9, 60), (9.5, 60), (10, 60), (11.5, 60), (12, 60)])
    assert [answer.status for answer in answers].count(201) <= 2
    begins, ends = MIDNIGHT + timedelta(hours=10), MIDNIGHT + timedelta(hours=12)
    for session in await coach.sessions():
        assert session["ends_at"] <= begins or session["starts_at"] >= ends


async def test_concurrent_series_leave_no_overlap_and_no_partial_series(site: Site) -> None:
    coach = await Coach.of(site)
    clients = await site.users(8)
    requests = [
        client.http_request(
            "POST",
            "/booking/recurring",
            {
                "coach_id": coach.uuid,
                "session_datetime": (MIDNIGHT + timedelta(hours=10, minutes=15 * number)).isoformat(),
                "duration_minutes": 30,
                "rrule": "FREQ=DAILY;COUNT=10",
            },
        )
        for number, client in enumerate(clients)
    ]
    answers = await site.all_at_once(requests)
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {201, 400}
    assert await coach.overlaps() == 0
    assert len(await coach.sessions()) == 10 * statuses[201] > 0
