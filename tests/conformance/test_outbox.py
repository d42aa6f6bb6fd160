"""The ports of the outbox, in memory and in PostgreSQL: claims, circuit breakers, dead letters.

Leases and delays are zero where they have to be over: the clock of the database cannot be moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from uuid import uuid4

import pytest

from application.outbox.ports import CircuitBreakers, DeadLetters, MessageFilter, OutboxClaims, StoredMessageDetail
from application.ports import PageRequest
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import Role
from domain.circuit_breaker import AttemptCounts
from domain.outbox import (
    ALWAYS_SERVED,
    Delivered,
    Destination,
    Failed,
    Message,
    MessageNotDead,
    MessageNotFound,
    MessageStatus,
    MessageType,
    Outcome,
    routes_for,
)
from infrastructure.clock import SystemClock
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.memory.claims import MemoryCircuitBreakers, MemoryDeadLetters, MemoryOutboxClaims
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

EMAIL = Destination.EMAIL
NONE = timedelta(0)
LONG = timedelta(hours=1)
TOOK = timedelta(milliseconds=250)
FAULT = Failed("503", status_code=503, destination_fault=True)
_numbers = count(1)


@dataclass
class Outbox:
    """`claims` and `other` are those of two workers."""

    units: OpenUnitOfWork
    claims: OutboxClaims
    other: OutboxClaims
    breakers: CircuitBreakers
    dead_letters: DeadLetters

    async def enqueue(self, *numbers: int) -> Sequence[str]:
        """Enqueues that many messages of another ordering key for each number; returns the keys."""
        keys = []
        for number in numbers:
            async with self.units() as work:
                email = f"user{next(_numbers)}@example.com"
                user = await work.users.add_without_password(email=email, name="Ada", now=SystemClock().now())
                for _ in range(number):
                    await work.messages.enqueue_facilitator_approved(user.id)
                await work.commit()
            keys.append(f"user:{user.id}")
        return keys

    async def claim(
        self, *, limit: int = 10, lease: timedelta = LONG, by_other: bool = False, probe_every: timedelta = LONG
    ) -> Sequence[Message]:
        worker = self.other if by_other else self.claims
        return await worker.claim(EMAIL, limit=limit, lease=lease, probe_every=probe_every)

    async def claimed(self, *, lease: timedelta = LONG, by_other: bool = False) -> Message:
        """The only message that can be claimed."""
        (message,) = await self.claim(lease=lease, by_other=by_other)
        return message

    async def record(self, message: Message, outcome: Outcome, *, retry_in: timedelta | None = None) -> None:
        await self.claims.record_result(message, outcome, took=TOOK, retry_in=retry_in)

    async def has_dead(self) -> Message:
        await self.enqueue(1)
        message = await self.claimed()
        await self.record(message, Failed("refused", permanent=True, status_code=400))
        return message

    async def show(self, message: Message) -> StoredMessageDetail:
        return await self.dead_letters.show(message.id)


@pytest.fixture
async def empty_database(postgres_database: Database) -> Database:
    async with postgres_database.connection() as connection:
        await connection.execute("TRUNCATE outbox, delivery_attempts, destinations, destination_minutes")
    return postgres_database


@pytest.fixture(params=["memory", "postgres"])
def outbox(request: pytest.FixtureRequest) -> Outbox:
    if request.param == "memory":
        store, clock = Store(), SettableClock()
        return Outbox(
            MemoryUnitsOfWork(store, clock),
            MemoryOutboxClaims(store, clock),
            MemoryOutboxClaims(store, clock),
            MemoryCircuitBreakers(store, clock),
            MemoryDeadLetters(store, clock),
        )
    database: Database = request.getfixturevalue("empty_database")
    return Outbox(
        UnitsOfWork(database, routes_for(ALWAYS_SERVED), SystemClock(), lambda: None),
        PostgresOutboxClaims(database),
        PostgresOutboxClaims(database),
        PostgresCircuitBreakers(database),
        PostgresDeadLetters(database),
    )


# Claims


async def test_enqueued_message_is_claimed(outbox: Outbox) -> None:
    (key,) = await outbox.enqueue(1)
    message = await outbox.claimed()

    assert (message.destination, message.message_type) == (EMAIL, MessageType.FACILITATOR_APPROVED)
    assert (message.ordering_key, message.attempt, message.probe) == (key, 1, False)
    assert message.payload["person"]["name"] == "Ada"


async def test_rolled_back_message_is_not_claimed(outbox: Outbox) -> None:
    async with outbox.units() as work:
        user = await work.users.add(
            email="rolled-back@example.com", name="Ada", role=Role.USER, password_hash="", now=SystemClock().now()
        )
        await work.messages.enqueue_facilitator_approved(user.id)
    assert await outbox.claim() == []


async def test_claimed_message_is_not_claimed_again(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.claimed()
    assert await outbox.claim() == []
    assert await outbox.claim(by_other=True) == []


async def test_message_of_another_destination_is_not_claimed(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    assert await outbox.claims.claim(Destination.CRM, limit=10, lease=LONG, probe_every=LONG) == []


async def test_oldest_messages_are_claimed_first(outbox: Outbox) -> None:
    keys = await outbox.enqueue(1, 1, 1)
    assert [message.ordering_key for message in await outbox.claim(limit=2)] == keys[:2]
    assert [message.ordering_key for message in await outbox.claim(limit=2)] == keys[2:]


async def test_messages_of_an_ordering_key_are_claimed_one_after_the_other(outbox: Outbox) -> None:
    one, other = await outbox.enqueue(3, 1)
    first, another = await outbox.claim()
    assert (first.ordering_key, another.ordering_key) == (one, other)

    await outbox.record(first, Delivered())
    second = await outbox.claimed()
    await outbox.record(second, Failed("refused", permanent=True))
    third = await outbox.claimed()
    assert first.id < second.id < third.id


async def test_message_that_waits_for_its_next_attempt_blocks_its_successors(outbox: Outbox) -> None:
    await outbox.enqueue(2)
    await outbox.record(await outbox.claimed(), Failed("busy"), retry_in=LONG)
    assert await outbox.claim() == []


async def test_failed_message_is_claimed_again_after_its_delay(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    first = await outbox.claimed()
    await outbox.record(first, Failed("busy"), retry_in=NONE)
    second = await outbox.claimed()
    assert (second.id, second.attempt) == (first.id, 2)


# Leases


async def test_expired_claim_is_taken_over_as_a_failed_attempt(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    first = await outbox.claimed(lease=NONE)
    second = await outbox.claimed(by_other=True)

    assert (second.id, second.attempt) == (first.id, 2)
    (attempt,) = (await outbox.show(first)).attempts_made
    assert (attempt.attempt, attempt.result, attempt.took_ms) == (1, "failed", 0)
    assert attempt.detail == "reclaimed: the lease of its worker expired"


async def test_renewed_claim_is_not_taken_over(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.claims.renew(await outbox.claimed(lease=NONE), lease=LONG)
    assert await outbox.claim(by_other=True) == []


async def test_released_message_can_be_claimed_and_has_lost_no_attempt(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.claims.release(await outbox.claimed())
    message = await outbox.claimed(by_other=True)
    assert message.attempt == 1
    assert not (await outbox.show(message)).attempts_made


async def test_worker_that_lost_a_claim_cannot_change_the_message(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    lost = await outbox.claimed(lease=NONE)
    await outbox.claimed(by_other=True)

    await outbox.claims.release(lost)
    await outbox.claims.renew(lost, lease=NONE)
    await outbox.record(lost, Delivered())
    assert await outbox.claim() == []
    assert (await outbox.show(lost)).message.status is MessageStatus.PENDING


async def test_claim_of_the_same_worker_differs_by_its_attempt(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    lost = await outbox.claimed(lease=NONE)
    present = await outbox.claimed()
    await outbox.record(lost, Failed("too late", permanent=True))
    assert (await outbox.show(lost)).message.status is MessageStatus.PENDING
    await outbox.record(present, Delivered())
    assert (await outbox.show(lost)).message.status is MessageStatus.DELIVERED


# Results


async def test_delivered_message_is_stored_with_its_attempt(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    message = await outbox.claimed()
    await outbox.record(message, Failed("busy", status_code=503), retry_in=NONE)
    assert (await outbox.show(message)).message.last_error == "busy"
    await outbox.record(await outbox.claimed(), Delivered("thanks", status_code=200))

    shown = await outbox.show(message)
    assert (shown.message.status, shown.message.last_error) == (MessageStatus.DELIVERED, None)
    assert shown.settled_at is not None
    assert [
        (made.attempt, made.result, made.status_code, made.detail, made.took_ms, made.probe)
        for made in shown.attempts_made
    ] == [(1, "failed", 503, "busy", 250, False), (2, "delivered", 200, "thanks", 250, False)]


async def test_message_without_another_attempt_is_dead(outbox: Outbox) -> None:
    message = await outbox.has_dead()
    shown = await outbox.show(message)
    assert (shown.message.status, shown.message.last_error) == (MessageStatus.DEAD, "refused")
    assert await outbox.claim() == []


@pytest.mark.parametrize(
    ("outcome", "next_attempt"),
    [
        (Failed("ours", not_attempted=True), 1),
        (Failed("gone", stop_destination=True), 1),
        (Failed("busy", destination_fault=True), 2),
    ],
)
async def test_message_that_was_not_attempted_loses_no_attempt(
    outbox: Outbox, outcome: Outcome, next_attempt: int
) -> None:
    await outbox.enqueue(1)
    await outbox.record(await outbox.claimed(), outcome, retry_in=NONE)
    assert (await outbox.claimed()).attempt == next_attempt


# Pauses, halts, circuit breakers


async def test_paused_destination_has_no_claims(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.breakers.pause(EMAIL, LONG, reason="Retry-After")
    await outbox.breakers.pause(EMAIL, NONE, reason="a shorter pause does not end an earlier one")
    assert await outbox.claim() == []


async def test_destination_has_claims_after_its_pause(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.breakers.pause(EMAIL, NONE, reason="Retry-After")
    await outbox.breakers.pause(Destination.CRM, LONG, reason="another destination")
    await outbox.claimed()


async def test_halted_destination_has_no_claims(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.breakers.halt(EMAIL, reason="gone")
    await outbox.breakers.close(EMAIL)
    assert await outbox.claim() == []


async def test_open_circuit_has_no_claims_until_its_probe(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.breakers.trip(EMAIL, probe_in=LONG, reason="failing")
    assert await outbox.claim() == []


async def test_open_circuit_has_one_probe_at_a_time(outbox: Outbox) -> None:
    await outbox.enqueue(1, 1)
    await outbox.breakers.trip(EMAIL, probe_in=NONE, reason="failing")
    assert (await outbox.claimed()).probe
    assert await outbox.claim(by_other=True) == []


async def test_next_probe_follows_after_the_given_time(outbox: Outbox) -> None:
    await outbox.enqueue(1, 1)
    await outbox.breakers.trip(EMAIL, probe_in=NONE, reason="failing")
    probes = [*await outbox.claim(probe_every=NONE), *await outbox.claim(probe_every=NONE)]
    assert [message.probe for message in probes] == [True, True]


async def test_without_a_due_message_the_probe_waits(outbox: Outbox) -> None:
    await outbox.breakers.trip(EMAIL, probe_in=NONE, reason="failing")
    assert await outbox.claim() == []
    await outbox.enqueue(1)
    assert (await outbox.claimed()).probe


async def test_open_circuit_is_not_opened_again(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.breakers.trip(EMAIL, probe_in=NONE, reason="failing")
    await outbox.breakers.trip(EMAIL, probe_in=LONG, reason="still failing")
    assert (await outbox.claimed()).probe


async def test_closed_circuit_has_claims_without_probes(outbox: Outbox) -> None:
    await outbox.enqueue(1, 1)
    await outbox.breakers.trip(EMAIL, probe_in=LONG, reason="failing")
    await outbox.breakers.close(EMAIL)
    assert [message.probe for message in await outbox.claim()] == [False, False]


async def test_attempts_that_count_for_the_destination_are_counted(outbox: Outbox) -> None:
    assert await outbox.breakers.counts(EMAIL, window=LONG) == AttemptCounts(0, 0)
    await outbox.enqueue(*[1] * 4)
    outcomes: list[Outcome] = [Delivered(), FAULT, Failed("refused", status_code=400), Failed("cannot be composed")]
    for message, outcome in zip(await outbox.claim(), outcomes, strict=True):
        await outbox.record(message, outcome)

    assert await outbox.breakers.counts(EMAIL, window=LONG) == AttemptCounts(3, 1)
    assert await outbox.breakers.counts(Destination.CRM, window=LONG) == AttemptCounts(0, 0)
    assert await outbox.breakers.counts(EMAIL, window=NONE) == AttemptCounts(0, 0)


async def test_counts_start_again_when_the_circuit_closes(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.record(await outbox.claimed(), FAULT)
    await outbox.breakers.close(EMAIL)
    assert await outbox.breakers.counts(EMAIL, window=LONG) == AttemptCounts(1, 1), "it was closed already"

    await outbox.breakers.trip(EMAIL, probe_in=LONG, reason="failing")
    await outbox.breakers.close(EMAIL)
    assert await outbox.breakers.counts(EMAIL, window=LONG) == AttemptCounts(0, 0)


# Dead letters


async def test_messages_are_listed_newest_first_in_pages(outbox: Outbox) -> None:
    keys = await outbox.enqueue(1, 1, 1)
    first = await outbox.dead_letters.list(MessageFilter(), PageRequest(limit=2))
    second = await outbox.dead_letters.list(MessageFilter(), PageRequest(limit=2, after=first.next))
    assert [message.ordering_key for message in (*first.items, *second.items)] == keys[::-1]
    assert (len(first.items), second.next) == (2, None)


async def test_messages_are_filtered(outbox: Outbox) -> None:
    dead = await outbox.has_dead()
    (key,) = await outbox.enqueue(1)

    async def listed(filter_: MessageFilter) -> list[str]:
        page = await outbox.dead_letters.list(filter_, PageRequest())
        return [message.ordering_key for message in page.items]

    assert await listed(MessageFilter(status=MessageStatus.DEAD)) == [dead.ordering_key]
    assert await listed(MessageFilter(status=MessageStatus.PENDING, destination=EMAIL)) == [key]
    assert await listed(MessageFilter(destination=EMAIL)) == [key, dead.ordering_key]
    assert await listed(MessageFilter(destination=Destination.CRM)) == []
    assert await listed(MessageFilter(since=dead.occurred_at)) == [key, dead.ordering_key]
    assert await listed(MessageFilter(since=dead.occurred_at + LONG)) == []


async def test_claimed_message_is_shown_in_flight(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    message = await outbox.claimed()
    assert (await outbox.show(message)).in_flight
    await outbox.claims.release(message)
    assert not (await outbox.show(message)).in_flight


async def test_replayed_message_keeps_its_id_and_starts_its_schedule_again(outbox: Outbox) -> None:
    dead = await outbox.has_dead()
    await outbox.dead_letters.replay(dead.id)

    again = await outbox.claimed()
    assert (again.id, again.attempt) == (dead.id, 1)
    shown = await outbox.show(again)
    assert (shown.settled_at, len(shown.attempts_made)) == (None, 1)


async def test_discarded_message_is_never_delivered(outbox: Outbox) -> None:
    dead = await outbox.has_dead()
    await outbox.dead_letters.discard(dead.id)
    assert (await outbox.show(dead)).message.status is MessageStatus.DISCARDED
    assert await outbox.claim() == []
    with pytest.raises(MessageNotDead):
        await outbox.dead_letters.replay(dead.id)


async def test_only_dead_messages_are_replayed_and_discarded(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    message = await outbox.claimed()
    for change in (outbox.dead_letters.replay, outbox.dead_letters.discard):
        with pytest.raises(MessageNotDead):
            await change(message.id)
        with pytest.raises(MessageNotFound):
            await change(uuid4())
    with pytest.raises(MessageNotFound):
        await outbox.dead_letters.show(uuid4())


async def test_dead_messages_that_match_both_filters_are_changed(outbox: Outbox) -> None:
    first, second = await outbox.has_dead(), await outbox.has_dead()
    await outbox.enqueue(1)
    letters = outbox.dead_letters
    assert await letters.replay_all(destination=Destination.CRM, since=None) == 0
    assert await letters.discard_all(destination=EMAIL, since=second.occurred_at + LONG) == 0

    assert await letters.replay_all(destination=EMAIL, since=first.occurred_at) == 2
    assert await letters.replay_all(destination=None, since=None) == 0
    claimed = {message.id: message for message in await outbox.claim()}
    assert {first.id, second.id} < set(claimed)
    await outbox.record(claimed[first.id], Failed("refused", permanent=True))
    assert await letters.discard_all(destination=None, since=None) == 1
    assert (await outbox.show(first)).message.status is MessageStatus.DISCARDED
