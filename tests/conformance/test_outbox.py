"""The ports of the outbox, in memory and in PostgreSQL: claims, circuit breakers."""

from datetime import timedelta

import pytest

from domain.accounts import Role
from domain.circuit_breaker import AttemptCounts
from domain.outbox import (
    Delivered,
    Destination,
    Failed,
    MessageStatus,
    MessageType,
    Outcome,
)
from tests.conformance.outbox_adapters import EMAIL, FAULT, LONG, NONE, Outbox
from tests.support.machine_clock import SystemClock

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
    ("outcome", "retry_in", "has_next"),
    [(Delivered(), None, True), (Failed("refused", permanent=True), None, True), (Failed("busy"), NONE, False)],
)
async def test_result_of_a_message_says_whether_its_ordering_key_has_a_next_one(
    outbox: Outbox, outcome: Outcome, retry_in: timedelta | None, has_next: bool
) -> None:
    await outbox.enqueue(2)
    assert await outbox.record(await outbox.claimed(), outcome, retry_in=retry_in) is has_next


async def test_last_message_of_an_ordering_key_has_no_next_one(outbox: Outbox) -> None:
    await outbox.enqueue(1, 1)
    (first, _) = await outbox.claim()
    assert await outbox.record(first, Delivered()) is False
    assert await outbox.record(first, Delivered()) is False, "its claim has ended"


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
