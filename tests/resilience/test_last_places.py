"""Many users book few seats at two API processes at once: a seat is sold at most once.

Each race has a negative control with `tests.support.without_guard`.
"""

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.resilience.conftest import CREATED, CREATED_AND_CANCELLED, SeatInventory, Site, open_site, outcomes
from tests.support.callers import Answer, Caller, CallerJob, race
from tests.support.load import Member
from tests.support.process_harness import LONG_RUN

FULL = (400, "Event is full")
ALREADY_BOOKED = (400, "You have already booked this event")
CANCELLED_EVENT = (400, "Event is cancelled")
BOOKED = (201, "")
DONE = (200, "")


USERS, SEATS = (300, 50) if LONG_RUN else (100, 20)


class Coming:
    """Users who book a seat of the event, cancel after a moment and book again until it is over, at the latest when
    `enough` seats were reserved. Seats reserved then are kept."""

    def __init__(self, event: int, people: list[Member], *, enough: int = 0) -> None:
        self.over = asyncio.Event()
        self.outcomes: set[tuple[int, str]] = set()
        self.booked = self.cancelled = 0
        self._enough = enough
        self._event = event
        self._people = people

    @property
    def stayed(self) -> int:
        return self.booked - self.cancelled

    def jobs(self) -> list[CallerJob]:
        return [self._job(person) for person in self._people]

    def _job(self, person: Member) -> CallerJob:
        luck = random.Random(person.id)

        async def come_and_go(caller: Caller) -> None:
            while not self.over.is_set():
                answer = await caller(person.booking_request(self._event))
                self.outcomes.update(outcomes([answer]))
                if answer.status != 201:
                    continue
                self.booked += 1
                if self.booked == self._enough:
                    self.over.set()
                await asyncio.sleep(luck.random() * 0.01)
                if not self.over.is_set():
                    number = answer.json["booking"]["id"]
                    answer = await caller(person.http_request("POST", f"/bookings/{number}/cancel"))
                    self.outcomes.update(outcomes([answer]))
                    self.cancelled += 1

        return come_and_go


@pytest.fixture(scope="module")
async def without_guard(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """The same two processes with a naive booking statement, on a database without its backstops."""
    directory = tmp_path_factory.mktemp("unguarded")
    async with open_site(postgres, redis_url, directory, module=("tests.support.without_guard",)) as opened:
        await opened.database.execute("ALTER TABLE events DROP CONSTRAINT ck_events_never_oversold")
        await opened.database.execute("DROP INDEX uq_bookings_one_live_place")
        yield opened


async def test_race_of_many_users_reserves_every_seat_once(site: Site) -> None:
    event = await site.event(capacity=SEATS)
    people = await site.users(USERS)

    answers = await site.all_at_once([person.booking_request(event) for person in people])

    assert outcomes(answers) == {BOOKED: SEATS, FULL: USERS - SEATS}
    assert await site.seats(event) == SeatInventory(capacity=SEATS, booked=SEATS, live=SEATS)
    assert await site.broken_commits(event) == []
    messages_by_booking = await site.messages_by_booking(event)
    assert set(messages_by_booking) == {answer.json["booking"]["id"] for answer in answers if answer.status == 201}
    assert all(messages == CREATED for messages in messages_by_booking.values())
    assert await site.messages(event) == SEATS * len(CREATED)


async def test_without_guard_the_same_race_oversells(without_guard: Site) -> None:
    event = await without_guard.event(capacity=SEATS)
    people = await without_guard.users(USERS)

    answers = await without_guard.all_at_once([person.booking_request(event) for person in people])

    assert outcomes(answers)[BOOKED] > SEATS
    assert (await without_guard.seats(event)).live > SEATS
    assert await without_guard.broken_commits(event) != []


async def test_fifty_concurrent_requests_by_one_user_reserve_one_seat(site: Site) -> None:
    event = await site.event(capacity=100)
    (person,) = await site.users(1)

    answers = await site.all_at_once([person.booking_request(event)] * 50)

    assert outcomes(answers) == {BOOKED: 1, ALREADY_BOOKED: 49}
    assert await site.seats(event) == SeatInventory(capacity=100, booked=1, live=1)
    assert list((await site.messages_by_booking(event)).values()) == [CREATED]


async def test_without_guard_one_user_gets_several_seats(without_guard: Site) -> None:
    event = await without_guard.event(capacity=100)
    (person,) = await without_guard.users(1)

    answers = await without_guard.all_at_once([person.booking_request(event)] * 50)

    assert outcomes(answers)[BOOKED] > 1, answers[:2]


async def test_database_constraints_reject_overselling_and_a_second_seat(site: Site) -> None:
    event = await site.event(capacity=1)
    (person,) = await site.users(1)
    booking = """INSERT INTO bookings (event_id, user_id, status, payment_status, created_at)
                 VALUES ($1, $2, 'confirmed', 'pending', now())"""

    with pytest.raises(asyncpg.CheckViolationError, match="never_oversold"):
        await site.database.execute("UPDATE events SET booked = capacity + 1 WHERE id = $1", event)
    await site.database.execute(booking, event, person.id)
    with pytest.raises(asyncpg.UniqueViolationError, match="one_live_place"):
        await site.database.execute(booking, event, person.id)


async def test_released_and_reserved_seats_never_exceed_the_capacity(site: Site) -> None:
    event = await site.event(capacity=2)
    users = Coming(event, await site.users(30), enough=100 if LONG_RUN else 20)

    await race(site.addresses, users.jobs())

    assert users.outcomes <= {BOOKED, DONE, FULL, ALREADY_BOOKED}
    assert await site.broken_commits(event) == []
    assert await site.seats(event) == SeatInventory(capacity=2, booked=users.stayed, live=users.stayed)
    all_messages = list((await site.messages_by_booking(event)).values())
    assert all_messages.count(CREATED_AND_CANCELLED) == users.cancelled
    assert all_messages.count(CREATED) == users.stayed == len(all_messages) - users.cancelled


async def test_capacity_changed_during_bookings_is_never_exceeded(site: Site) -> None:
    event = await site.event(capacity=10)
    users = Coming(event, await site.users(20))
    luck = random.Random(1)

    async def replan(caller: Caller) -> set[tuple[int, str]]:
        """The facilitator sets the capacity to the number of bookings, a few more or less."""
        answers = []
        for _ in range(15 if LONG_RUN else 6):
            seen = (await caller(site.facilitator.http_request("GET", f"/events/{event}"))).json["current_participants"]
            change = {"max_participants": max(1, seen + luck.randrange(-4, 8))}
            answers.append(await caller(site.facilitator.http_request("PUT", f"/events/{event}", change)))
        users.over.set()
        return set(outcomes(answers))

    *_, with_details = await race(site.addresses, [*users.jobs(), replan])

    assert users.outcomes <= {BOOKED, DONE, FULL, ALREADY_BOOKED}
    assert DONE in with_details
    assert with_details <= {DONE, (400, "There are more bookings than that")}
    assert await site.broken_commits(event) == []
    seats = await site.seats(event)
    assert seats.booked == seats.live == users.stayed


async def test_event_cancelled_during_bookings_keeps_no_booking(site: Site) -> None:
    event = await site.event(capacity=1000)
    some_have_seats = asyncio.Event()
    reserved = 0

    async def cancel(caller: Caller) -> Answer:
        await some_have_seats.wait()
        return await caller(site.facilitator.http_request("POST", f"/facilitator/events/{event}/cancel"))

    def booking(person: Member, *, late: bool) -> CallerJob:
        async def book(caller: Caller) -> Answer:
            nonlocal reserved
            if late:
                await some_have_seats.wait()
            answer = await caller(person.booking_request(event))
            reserved += answer.status == 201
            if reserved == USERS // 10:
                some_have_seats.set()
            return answer

        return book

    people = enumerate(await site.users(USERS))
    bookings = [booking(person, late=number >= USERS // 3) for number, person in people]
    cancelled, *booked = await race(site.addresses, [cancel, *bookings])

    assert cancelled.status == 200
    assert outcomes(booked) == {BOOKED: reserved, CANCELLED_EVENT: USERS - reserved}
    assert await site.seats(event) == SeatInventory(capacity=1000, booked=0, live=0)
    assert await site.broken_commits(event) == []
    assert list((await site.messages_by_booking(event)).values()) == [CREATED_AND_CANCELLED] * reserved


async def test_bookings_cancelled_with_their_event_are_reported_once(site: Site) -> None:
    event = await site.event(capacity=40)
    people = await site.users(40)
    bookings = [
        answer.json["booking"]["id"]
        for answer in await site.all_at_once([person.booking_request(event) for person in people])
    ]
    requests = [
        person.http_request("POST", f"/bookings/{booking}/cancel")
        for person, booking in zip(people, bookings, strict=True)
    ]
    requests.insert(15, site.facilitator.http_request("POST", f"/facilitator/events/{event}/cancel"))

    answers = await site.all_at_once(requests)

    assert answers[15].status == 200
    assert {answer.status for answer in answers} <= {200, 400}
    assert await site.seats(event) == SeatInventory(capacity=40, booked=0, live=0)
    assert await site.broken_commits(event) == []
    assert list((await site.messages_by_booking(event)).values()) == [CREATED_AND_CANCELLED] * 40
