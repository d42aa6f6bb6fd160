"""Seats reserved together: the answers and the rows are those of one request after the other, in memory and in
PostgreSQL."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from application.bookings.ports import ReservedBooking
from application.idempotency import Claim, IdempotencyKeyInUse, IdempotencyKeys, KeyedRequest, owner_of
from domain.accounts import User, UserId
from domain.events import Event
from infrastructure.postgres.bookings.seat_batches import BATCH, PostgresSeatBatches
from infrastructure.postgres.bookings.seat_queues import NotInBatch, SeatBatches, SeatRequest
from infrastructure.postgres.engine import Database
from infrastructure.postgres.idempotency import PostgresIdempotencyKeys
from tests.conformance.booking_adapters import DAY, GATEWAY, HOLD, NOW, BookingAdapters, in_memory, in_postgres, inr
from tests.support.memory.bookings import MemorySeatInventory
from tests.support.memory.idempotency import MemoryIdempotencyKeys, request_under
from tests.support.memory.rows import ConstraintViolated
from tests.support.memory.store import SettableClock, Store
from tests.support.process_harness import LONG_RUN

SEEDS = range(200 if LONG_RUN else 12)


@dataclass
class Seats:
    adapters: BookingAdapters
    batches: SeatBatches
    keys: IdempotencyKeys


@pytest.fixture(params=["memory", "postgres"])
def seats(request: pytest.FixtureRequest) -> Seats:
    if request.param == "memory":
        store, clock = Store(), SettableClock(NOW)
        adapters = in_memory(store, clock)
        assert isinstance(adapters.seats, MemorySeatInventory)
        return Seats(adapters, adapters.seats, MemoryIdempotencyKeys(store, clock))
    database: Database = request.getfixturevalue("postgres_database")
    batches = PostgresSeatBatches(database, gateway=GATEWAY)
    return Seats(in_postgres(database), batches, PostgresIdempotencyKeys(database))


@dataclass
class Crowd:
    """An event, and requests for it."""

    event: Event
    requests: list[SeatRequest]


async def crowd(seats: Seats, seed: int) -> Crowd:
    """The same for the same seed, with other people and another event."""
    luck, adapters = random.Random(seed), seats.adapters
    price = inr(luck.choice([0, 100]))
    capacity = luck.randint(1, 8)
    event = await adapters.event(capacity=capacity, price=price, starts_in=DAY)
    people = [await adapters.person() for _ in range(luck.randint(2, 8))]
    for person in people[:capacity]:
        match luck.choice(["booked", "holds", "new", "new", "new"]):
            case "booked":
                await adapters.reserve(event, person)
            case "holds":
                await adapters.booked(user=person)
    if luck.random() < 0.1:
        async with adapters.changing() as work:
            await work.events.save((await work.events.get(event.id)).cancelled(NOW, by=event.facilitator_id))
    requests = [
        SeatRequest(
            luck.choice(people).id,
            notes=luck.choice([None, f"Note {number}"]),
            now=NOW + timedelta(seconds=number) + luck.choice([timedelta(0)] * 9 + [DAY]),
            hold_for=HOLD,
            request_id=f"request {number}",
            unpaid_at_most=luck.choice([None, 1]),
            claim=await claim_of(seats, lost=luck.random() < 0.3) if luck.random() < 0.4 else None,
        )
        for number in range(luck.randint(2, 12))
    ]
    return Crowd(event, requests)


async def claim_of(seats: Seats, *, lost: bool = False) -> Claim:
    request = KeyedRequest(owner_of((await seats.adapters.person()).id), "key", b"fingerprint")
    claim = await seats.keys.claim(request, lease=timedelta(minutes=1), kept_for=3 * DAY)
    assert isinstance(claim, Claim)
    return replace(claim, runner=uuid4()) if lost else claim


async def one_by_one(seats: Seats, crowd: Crowd) -> list[Any]:
    return [await alone(seats, crowd.event, request) for request in crowd.requests]


async def alone(seats: Seats, event: Event, request: SeatRequest) -> Any:
    with request_under(request.claim):
        try:
            return await seats.adapters.seats.reserve(
                event_id=event.id,
                user_id=request.user_id,
                notes=request.notes,
                now=request.now,
                hold_for=request.hold_for,
                request_id=request.request_id,
                unpaid_at_most=request.unpaid_at_most,
            )
        except IdempotencyKeyInUse as error:
            return error


async def together(seats: Seats, crowd: Crowd) -> list[Any]:
    answers = await seats.batches.reserve_together(crowd.event.id, crowd.requests)
    return [
        await alone(seats, crowd.event, request) if answer is NotInBatch.ALONE else answer
        for request, answer in zip(crowd.requests, answers, strict=True)
    ]


def shape(crowd: Crowd, answers: Sequence[Any]) -> list[Any]:
    """The answers without what differs between two crowds. People are known by their first request."""
    people = [request.user_id for request in crowd.requests]
    ids = sorted(answer.id for answer in answers if isinstance(answer, ReservedBooking))
    return [
        (
            ids.index(answer.id),
            people.index(answer.user_id),
            answer.payment_status,
            answer.payment_id is None,
            *(answer.notes, answer.created_at, answer.price, answer.currency, answer.hold_until),
        )
        if isinstance(answer, ReservedBooking)
        else type(answer).__name__
        for answer in answers
    ]


@pytest.mark.parametrize("seed", SEEDS)
async def test_requests_together_get_the_answers_of_one_after_the_other(seats: Seats, seed: int) -> None:
    first, second = await crowd(seats, seed), await crowd(seats, seed)
    answers, expected = await together(seats, first), await one_by_one(seats, second)
    assert shape(first, answers) == shape(second, expected)
    stored, expected_event = [await seats.adapters.stored_event(each.event) for each in (first, second)]
    assert (stored.booked, stored.version) == (expected_event.booked, expected_event.version)
    for answer, other in zip(answers, expected, strict=True):
        if isinstance(answer, ReservedBooking):
            messages, others = [sorted(await seats.adapters.messages(f"booking:{each.id}")) for each in (answer, other)]
            assert messages == others


async def test_seats_go_to_the_first_requests(seats: Seats) -> None:
    event = await seats.adapters.event(capacity=3)
    people = [await seats.adapters.person() for _ in range(6)]
    answers = await seats.batches.reserve_together(event.id, [asked(person) for person in people])
    assert [isinstance(answer, ReservedBooking) for answer in answers] == [True] * 3 + [False] * 3
    assert answers[3:] == [None] * 3


async def test_second_request_of_a_person_gets_no_seat(seats: Seats) -> None:
    event, person, other = await seats.adapters.event(), await seats.adapters.person(), await seats.adapters.person()
    first, second, third = await seats.batches.reserve_together(event.id, [asked(person), asked(person), asked(other)])
    assert isinstance(first, ReservedBooking)
    assert second is None
    assert isinstance(third, ReservedBooking)


async def test_seat_of_a_batch_is_recorded_under_the_key_of_its_request(seats: Seats) -> None:
    event, person, other = await seats.adapters.event(), await seats.adapters.person(), await seats.adapters.person()
    claim = await claim_of(seats)
    reserved, _ = await seats.batches.reserve_together(event.id, [replace(asked(person), claim=claim), asked(other)])
    assert isinstance(reserved, ReservedBooking)
    await seats.keys.release(claim)
    again = await seats.keys.claim(
        KeyedRequest(claim.owner, claim.key, b"fingerprint"), lease=timedelta(minutes=1), kept_for=3 * DAY
    )
    assert isinstance(again, Claim)
    assert again.made is not None
    with request_under(again):
        assert await seats.adapters.reserve(event, person) == reserved
    assert (await seats.adapters.stored_event(event)).booked == 2


async def test_error_of_one_request_leaves_no_seat_of_the_batch(seats: Seats) -> None:
    event, person = await seats.adapters.event(), await seats.adapters.person()
    unknown = replace(asked(person), user_id=UserId(10**9))
    with pytest.raises((asyncpg.ForeignKeyViolationError, ConstraintViolated)):
        await seats.batches.reserve_together(event.id, [asked(person), unknown])
    assert (await seats.adapters.stored_event(event)).booked == 0
    assert await seats.adapters.reserve(event, person) is not None


# On PostgreSQL alone


@pytest.fixture
def on_postgres(postgres_database: Database) -> Seats:
    batches = PostgresSeatBatches(postgres_database, gateway=GATEWAY)
    return Seats(in_postgres(postgres_database), batches, PostgresIdempotencyKeys(postgres_database))


async def test_payloads_are_those_of_one_after_the_other(on_postgres: Seats, postgres_database: Database) -> None:
    """Each has the number of bookings and the version of the event after its own booking."""
    first, second = [await on_postgres.adapters.event(capacity=4) for _ in range(2)]
    people = [await on_postgres.adapters.person() for _ in range(3)]
    requests = [replace(asked(person), now=NOW + timedelta(seconds=n)) for n, person in enumerate(people)]
    await on_postgres.batches.reserve_together(first.id, requests)
    for request in requests:
        await alone(on_postgres, second, request)
    payloads = [await _payloads(postgres_database, event) for event in (first, second)]
    assert [each["event"]["booked"] for each in payloads[0]] == [1] * 4 + [2] * 4 + [3] * 4, (
        "with the mail to the facilitator"
    )
    assert payloads[0] == payloads[1]


async def _payloads(database: Database, event: Event) -> list[Any]:
    async with database.connection() as connection:
        rows = await connection.fetch(
            """SELECT snapshot, request_id, occurred_at FROM outbox
               WHERE snapshot #>> '{event,id}' = $1 AND fact = 'booking_created'
               ORDER BY snapshot #>> '{booking,id}', destination, lane""",
            str(event.id),
        )
    found = []
    for row in rows:
        payload = row["snapshot"]
        for part, own in (
            ("booking", ["id", "reference", "uid"]),
            ("event", ["id"]),
            ("facilitator", ["id", "name", "email"]),
        ):
            for name in own:
                del payload[part][name]
        found.append(payload | {"request_id": row["request_id"], "occurred_at": row["occurred_at"]})
    return found


async def test_request_whose_account_is_locked_elsewhere_leaves_the_batch(
    on_postgres: Seats, postgres_database: Database
) -> None:
    """Another request of the person counts its unpaid holds. The batch does not wait for it."""
    event, free = await on_postgres.adapters.event(), await on_postgres.adapters.event(price=inr(0))
    person, other = [await on_postgres.adapters.person() for _ in range(2)]
    requests = [replace(asked(each), unpaid_at_most=5) for each in (person, other)]
    async with postgres_database.connection() as connection, connection.transaction():
        await connection.fetchval("SELECT unpaid_holds($1)", person.id)
        answers = await on_postgres.batches.reserve_together(event.id, requests)
        assert answers[0] is NotInBatch.ALONE
        assert isinstance(answers[1], ReservedBooking)
        assert None not in await on_postgres.batches.reserve_together(free.id, requests)
    assert await alone(on_postgres, event, requests[0]) is not None


async def test_request_whose_key_is_locked_elsewhere_leaves_the_batch(
    on_postgres: Seats, postgres_database: Database
) -> None:
    event, claim = await on_postgres.adapters.event(), await claim_of(on_postgres)
    person, other = [await on_postgres.adapters.person() for _ in range(2)]
    async with postgres_database.connection() as connection, connection.transaction():
        await connection.execute("SELECT FROM idempotency_keys WHERE owner = $1 FOR UPDATE", claim.owner)
        answers = await on_postgres.batches.reserve_together(
            event.id, [replace(asked(person), claim=claim), asked(other)]
        )
    assert answers[0] is NotInBatch.ALONE
    assert isinstance(answers[1], ReservedBooking)


async def test_batch_is_found_by_indexes_when_planned_on_empty_tables(database_url: str) -> None:
    database = Database(database_url)
    types = "bigint, text, bigint[], text[], timestamptz[], text[], interval[], int[]"
    given = "1, 'offline', '{1,2}', '{NULL,NULL}', ARRAY[now(), now()], '{a,b}', '{NULL,NULL}', '{5,5}'"
    try:
        async with database.connection() as connection:
            await connection.execute("ANALYZE")
            await connection.execute("SET plan_cache_mode = force_generic_plan")
            await connection.execute(f"PREPARE take ({types}) AS {BATCH}")
            lines = [row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE take ({given})")]
    finally:
        await database.close()
    assert any("uq_bookings_one_live_place" in line for line in lines)
    assert not any("Seq Scan" in line for line in lines), "\n".join(lines)


def asked(person: User) -> SeatRequest:
    return SeatRequest(person.id, notes=None, now=NOW, hold_for=HOLD, request_id=None)
