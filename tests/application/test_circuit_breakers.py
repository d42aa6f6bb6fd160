"""The rules of circuit breakers: when a destination is not sent messages any more, and when again."""

from datetime import timedelta

import pytest

from domain.circuit_breaker import CircuitBreakerRule
from domain.outbox import Delivered, Failed, MessageStatus, Outcome
from tests.application.deliveries import CRM, EMAIL, MINUTE, SECOND, Deliveries

FAULT = Failed("503", status_code=503, destination_fault=True)
REFUSED = Failed("400", permanent=True, status_code=400)
PROBE_EVERY = CircuitBreakerRule().probe_every


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries()


async def record(deliveries: Deliveries, outcome: Outcome | Exception, number: int) -> None:
    deliveries.crm.outcome = outcome
    deliveries.enqueue(number)
    assert len(await deliveries.deliver(limit=number)) == number


def is_open(deliveries: Deliveries) -> bool:
    return deliveries.state().tripped_at is not None


@pytest.fixture
async def tripped(deliveries: Deliveries) -> Deliveries:
    """The circuit of the CRM has just opened: ten messages failed, and three more are due."""
    await record(deliveries, FAULT, 10)
    deliveries.enqueue(3)
    assert is_open(deliveries)
    return deliveries


@pytest.mark.parametrize(
    ("delivered", "failed", "opens"), [(0, 9, False), (0, 10, True), (3, 7, True), (4, 7, False), (30, 70, True)]
)
async def test_circuit_opens_after_70_percent_failures_of_at_least_10_attempts(
    deliveries: Deliveries, delivered: int, failed: int, opens: bool
) -> None:
    if delivered:
        await record(deliveries, Delivered(), delivered)
    await record(deliveries, FAULT, failed)
    assert is_open(deliveries) == opens


async def test_attempts_of_more_than_5_minutes_ago_do_not_count(deliveries: Deliveries) -> None:
    await record(deliveries, FAULT, 9)
    deliveries.clock.advance(5 * MINUTE)
    deliveries.store.tables.of("outbox").clear()
    await record(deliveries, FAULT, 1)
    assert not is_open(deliveries)


@pytest.mark.parametrize("outcome", [REFUSED, Failed("cannot be composed"), KeyError("name")])
async def test_failures_of_messages_do_not_open_the_circuit(
    deliveries: Deliveries, outcome: Outcome | Exception
) -> None:
    await record(deliveries, outcome, 24)
    assert not deliveries.state().tripped_at


async def test_circuits_of_destinations_are_separate(tripped: Deliveries) -> None:
    tripped.enqueue(destination=EMAIL)
    assert len(await tripped.deliver(EMAIL)) == 1


async def test_open_circuit_sends_one_probe_every_30_seconds(tripped: Deliveries) -> None:
    assert PROBE_EVERY == 30 * SECOND
    assert await tripped.deliver() == []
    for _ in range(3):
        tripped.clock.advance(PROBE_EVERY - timedelta(microseconds=1))
        assert await tripped.deliver() == []
        tripped.clock.advance(timedelta(microseconds=1))
        (probe,) = await tripped.deliver()
        assert probe.probe
        assert await tripped.deliver() == []
    assert is_open(tripped)


async def test_two_workers_send_one_probe(tripped: Deliveries) -> None:
    tripped.clock.advance(PROBE_EVERY)
    claimed = [*await tripped.claim(), *await tripped.worker().claim(CRM, 24)]
    assert len(claimed) == 1


async def test_messages_that_are_not_attempted_lose_no_attempt(tripped: Deliveries) -> None:
    for _ in range(10):
        tripped.clock.advance(SECOND)
        await tripped.deliver()
    assert [message.attempts for message in tripped.messages()] == [1] * 10 + [0] * 3


@pytest.mark.parametrize("outcome", [Delivered(), REFUSED])
async def test_successful_probe_closes_the_circuit(tripped: Deliveries, outcome: Outcome) -> None:
    """A destination that refuses one message works."""
    tripped.crm.outcome = outcome
    tripped.clock.advance(PROBE_EVERY)
    await tripped.deliver()
    assert not is_open(tripped)

    tripped.crm.outcome = Delivered()
    assert len(await tripped.deliver()) == 12
    assert MessageStatus.PENDING not in tripped.statuses()


@pytest.mark.parametrize("outcome", [FAULT, KeyError("name")])
async def test_probe_without_success_leaves_the_circuit_open(tripped: Deliveries, outcome: Outcome | Exception) -> None:
    tripped.crm.outcome = outcome
    tripped.clock.advance(PROBE_EVERY)
    await tripped.deliver()
    assert is_open(tripped)
    assert await tripped.deliver() == []


async def test_late_success_of_a_message_that_is_no_probe_leaves_the_circuit_open(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    (slow,) = await deliveries.claim()
    await record(deliveries, FAULT, 10)
    await deliveries.due.record(slow, Delivered(), SECOND)
    assert is_open(deliveries)


async def test_counts_start_again_after_the_circuit_has_closed(tripped: Deliveries) -> None:
    tripped.crm.outcome = Delivered()
    tripped.clock.advance(PROBE_EVERY)
    await tripped.deliver()
    tripped.store.tables.of("outbox").clear()
    await record(tripped, FAULT, 9)
    assert not is_open(tripped)
    await record(tripped, FAULT, 1)
    assert is_open(tripped)
