"""Requests for seats in one event that wait for each other and are reserved together.

The adapters are in memory: `GatedSeats` holds the first request back until the others wait.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from application.bookings.ports import ReservedBooking
from application.bookings.reservation import BookSeat, NewBooking
from application.idempotency import Claim
from domain.accounts import User, UserId
from domain.errors import DomainError, Unavailable
from domain.events import Event, EventFull, EventId
from infrastructure.postgres.bookings.seat_queues import MOST, QueuedSeatInventory, SeatAnswer, SeatRequest
from infrastructure.retries import TransactionConflict, repeating
from tests.application.booking_application import BookingApplication
from tests.support.memory.bookings import MemorySeatInventory
from tests.support.memory.idempotency import claim_after_a_crash, request_under

A_MINUTE = 60


class Broken(Exception):
    """An error of the code."""


@dataclass
class GatedSeats:
    """Records who is served alone and who together. `fails` is raised by the next batches, before or after their
    commit."""

    seats: MemorySeatInventory
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    batch_opened: asyncio.Event = field(default_factory=asyncio.Event)
    alone: list[UserId] = field(default_factory=list)
    batches: list[list[UserId]] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)
    commits_before: bool = False

    async def reserve(self, **about: Any) -> ReservedBooking | None:
        self.alone.append(about["user_id"])
        await self.opened.wait()
        return await self.seats.reserve(**about)

    async def reserve_together(self, event_id: EventId, requests: Sequence[SeatRequest]) -> Sequence[SeatAnswer]:
        self.batches.append([request.user_id for request in requests])
        await self.batch_opened.wait()
        if self.fails and not self.commits_before:
            raise self.fails.pop(0)
        answers = await self.seats.reserve_together(event_id, requests)
        if self.fails:
            raise self.fails.pop(0)
        return answers

    async def find_event(self, event_id: EventId, user_id: UserId) -> tuple[Event, bool] | None:
        return await self.seats.find_event(event_id, user_id)

    async def count_unpaid_holds(self, user_id: UserId) -> int:
        return await self.seats.count_unpaid_holds(user_id)


class Queued:
    """An application whose requests for seats go through a queue."""

    def __init__(self, *, seconds: float = A_MINUTE) -> None:
        self.app = BookingApplication()
        assert isinstance(self.app.seats, MemorySeatInventory)
        self.gate = GatedSeats(self.app.seats)
        self.gate.batch_opened.set()
        self.queue = QueuedSeatInventory(self.gate, self.gate, seconds=seconds)
        self.book_seat: BookSeat = replace(self.app.book_seat, seats=self.queue)

    async def people(self, number: int) -> list[User]:
        return [await self.app.person() for _ in range(number)]

    async def asked(self, event: Event, people: Sequence[User]) -> list["asyncio.Task[NewBooking]"]:
        """Their requests, in this order, each of which has reached the queue."""
        tasks = []
        for person in people:
            tasks.append(asyncio.create_task(self.book_seat(person, event.id, None)))
            await asyncio.sleep(0)
        return tasks

    async def served(self, event: Event, people: Sequence[User]) -> list[Any]:
        """The answers to requests that came while the first of them was under way."""
        tasks = await self.asked(event, people)
        self.gate.opened.set()
        return await answers_to(tasks)

    def owners(self, event: Event) -> list[UserId]:
        return [booking.user_id for booking in self.app.bookings_of(event)]


async def answers_to(tasks: Sequence["asyncio.Task[NewBooking]"]) -> list[Any]:
    async with asyncio.timeout(A_MINUTE):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_requests_that_wait_are_reserved_together_in_their_order() -> None:
    queued = Queued()
    event, people = await queued.app.event(capacity=2 * MOST), await queued.people(MOST + 7)
    answers = await queued.served(event, people)
    ids = [person.id for person in people]
    assert queued.gate.alone == ids[:1]
    assert queued.gate.batches == [ids[1 : MOST + 1], ids[MOST + 1 :]]
    assert [answer.reserved.user_id for answer in answers] == ids == queued.owners(event)
    assert queued.queue.is_idle


async def test_request_alone_does_not_wait() -> None:
    queued = Queued()
    queued.gate.opened.set()
    event, other, people = await queued.app.event(), await queued.app.event(), await queued.people(3)
    for person in people:
        await queued.book_seat(person, event.id, None)
        await queued.book_seat(person, other.id, None)
    assert queued.gate.batches == []
    assert queued.queue.is_idle


async def test_events_do_not_wait_for_each_other() -> None:
    queued = Queued()
    events, people = [await queued.app.event() for _ in range(3)], await queued.people(3)
    tasks = [task for event, person in zip(events, people, strict=True) for task in await queued.asked(event, [person])]
    assert queued.gate.alone == [person.id for person in people]
    queued.gate.opened.set()
    await answers_to(tasks)


async def test_single_request_that_waited_is_reserved_as_the_first() -> None:
    queued = Queued()
    event, people = await queued.app.event(), await queued.people(2)
    await queued.served(event, people)
    assert queued.gate.alone == [person.id for person in people]
    assert queued.gate.batches == []
    assert queued.queue.is_idle


@pytest.mark.parametrize("seed", range(25))
async def test_answers_are_those_of_one_request_after_the_other(seed: int) -> None:
    """Some requests are cancelled while they wait; some batches fail because of an error of the code."""
    luck = random.Random(seed)
    capacity, number, asking = luck.randint(1, 12), luck.randint(2, 10), luck.randint(2, 30)
    chosen = [luck.randrange(number) for _ in range(asking)]
    leaving = {index for index in range(1, asking) if luck.random() < 0.2}
    queued, single = Queued(), BookingApplication()
    queued.gate.fails = [Broken()] * luck.choice([0, 0, 1])

    event, people = await queued.app.event(capacity=capacity), await queued.people(number)
    tasks = await queued.asked(event, [people[index] for index in chosen])
    for index in leaving:
        tasks[index].cancel()
    queued.gate.opened.set()
    answers = [answer for index, answer in enumerate(await answers_to(tasks)) if index not in leaving]

    event_of_single = await single.event(capacity=capacity)
    others = [await single.person() for _ in range(number)]
    expected = []
    for index, place in enumerate(chosen):
        if index not in leaving:
            try:
                expected.append(await single.book(event_of_single, others[place]))
            except DomainError as error:
                expected.append(error)  # type: ignore[arg-type]

    def shape(answer: Any) -> Any:
        return answer.reserved.user_email if isinstance(answer, NewBooking) else type(answer)

    assert list(map(shape, answers)) == list(map(shape, expected))
    assert queued.app.stored_event(event.id).booked == single.stored_event(event_of_single.id).booked
    assert queued.queue.is_idle


async def test_cancelled_request_does_not_end_its_batch() -> None:
    queued = Queued()
    event, people = await queued.app.event(), await queued.people(4)
    queued.gate.batch_opened.clear()
    tasks = await queued.asked(event, people)
    queued.gate.opened.set()
    await until(lambda: queued.gate.batches != [])
    tasks[1].cancel()
    await asyncio.wait(tasks[1:2])
    queued.gate.batch_opened.set()
    answers = await answers_to(tasks)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert all(isinstance(answer, NewBooking) for answer in (answers[0], *answers[2:]))
    assert queued.queue.is_idle


async def test_cancelled_request_passes_its_turn_on() -> None:
    queued = Queued()
    event, people = await queued.app.event(), await queued.people(3)
    first, second = await queued.asked(event, people[:2])
    first.add_done_callback(lambda _task: second.cancel())  # it has its turn already
    first.cancel()
    third = asyncio.create_task(queued.book_seat(people[2], event.id, None))
    queued.gate.opened.set()
    answers = await answers_to([first, second, third])
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, asyncio.CancelledError, NewBooking]
    assert queued.queue.is_idle


async def test_error_of_one_request_is_not_that_of_the_others() -> None:
    queued = Queued()
    event, people = await queued.app.event(), await queued.people(5)
    unknown = replace(people[2], id=UserId(10**9))
    answers = await queued.served(event, [*people[:2], unknown, *people[3:]])
    assert [isinstance(answer, NewBooking) for answer in answers] == [True, True, False, True, True]
    assert "there is no user" in str(answers[2])
    assert len(queued.gate.batches) == 1
    assert queued.queue.is_idle


async def test_outage_is_the_answer_to_all_requests_of_its_batch() -> None:
    queued = Queued()
    queued.gate.fails = [Unavailable()]
    event, people = await queued.app.event(), await queued.people(4)
    _, *answers = await queued.served(event, people)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert len(set(map(id, answers))) == 3
    assert queued.owners(event) == [people[0].id]


async def test_lost_answer_to_a_commit_leaves_the_outcome_open_for_all() -> None:
    """As for a single request: a repeated one with the same key returns the booking that was made."""
    queued = Queued()
    event, (first, second, third) = await queued.app.event(), await queued.people(3)
    claim = await claim_after_a_crash(queued.app.store, queued.app.clock)
    queued.gate.fails, queued.gate.commits_before = [Unavailable()], True
    with request_under(None):
        tasks = await queued.asked(event, [first, second])
    with request_under(claim):
        tasks += await queued.asked(event, [third])
    queued.gate.opened.set()
    answers = await answers_to(tasks)
    assert [type(answer) for answer in answers] == [NewBooking, Unavailable, Unavailable]
    assert queued.owners(event) == [first.id, second.id, third.id]
    again = await claim_after_a_crash(queued.app.store, queued.app.clock)
    assert isinstance(again, Claim)
    with request_under(again):
        repeated = await queued.book_seat(third, event.id, None)
    assert repeated.reserved.user_id == third.id
    assert queued.owners(event) == [first.id, second.id, third.id]


async def test_request_that_waits_for_too_long_leaves_the_queue() -> None:
    queued = Queued(seconds=0.01)
    event, people = await queued.app.event(), await queued.people(3)
    tasks = await queued.asked(event, people)
    late = await answers_to(tasks[1:])
    assert [type(answer) for answer in late] == [Unavailable] * 2
    queued.gate.opened.set()
    await answers_to(tasks[:1])
    assert queued.owners(event) == [people[0].id]
    assert queued.queue.is_idle


@dataclass(frozen=True)
class UseCases:
    book_seat: BookSeat


async def test_conflict_of_a_batch_is_repeated_by_each_request() -> None:
    queued = Queued()
    queued.book_seat = repeating(UseCases(queued.book_seat)).book_seat
    queued.gate.fails = [TransactionConflict()]
    event, people = await queued.app.event(), await queued.people(4)
    answers = await queued.served(event, people)
    assert all(isinstance(answer, NewBooking) for answer in answers)
    assert queued.app.stored_event(event.id).booked == 4


async def test_request_is_not_repeated_after_its_batch_has_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    queued = Queued()
    conflicts = 0

    async def conflict(*_about: object, **_named: object) -> None:
        nonlocal conflicts
        conflicts += 1
        raise TransactionConflict

    monkeypatch.setattr(type(queued.app.open_checkout), "for_new", conflict)
    queued.book_seat = repeating(UseCases(queued.book_seat)).book_seat
    event, people = await queued.app.event(), await queued.people(3)
    _, *answers = await queued.served(event, people)
    assert [type(answer) for answer in answers] == [TransactionConflict] * 2
    assert queued.owners(event) == [person.id for person in people]


async def test_full_event_refuses_the_rest_of_a_batch() -> None:
    queued = Queued()
    event, people = await queued.app.event(capacity=3), await queued.people(6)
    answers = await queued.served(event, people)
    assert [type(answer) for answer in answers] == [NewBooking] * 3 + [EventFull] * 3


async def until(condition: Any) -> None:
    async with asyncio.timeout(A_MINUTE):
        while not condition():  # noqa: ASYNC110 (no event for it)
            await asyncio.sleep(0)
