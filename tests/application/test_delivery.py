"""The rules of delivery: leases, retries, dead messages, answers for a whole destination, failures on our side."""

from datetime import timedelta

import pytest

from application.outbox.delivery import SOON
from domain.errors import Unavailable
from domain.outbox import Delivered, Failed, MessageStatus, RetrySchedule
from tests.application.deliveries import CRM, EMAIL, MINUTE, SECOND, Deliveries

PENDING, DELIVERED, DEAD = MessageStatus.PENDING, MessageStatus.DELIVERED, MessageStatus.DEAD
BUSY = Failed("busy", status_code=500)


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries()


async def test_message_is_delivered_once(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    await deliveries.deliver()
    await deliveries.deliver()
    assert len(deliveries.crm.received) == 1
    assert deliveries.statuses() == [DELIVERED]


async def test_messages_of_an_ordering_key_are_delivered_in_order(deliveries: Deliveries) -> None:
    deliveries.enqueue(3, key="booking:1")
    for _ in range(3):
        await deliveries.deliver()
    assert [message.id for message in deliveries.crm.received] == [message.id for message in deliveries.messages()]


async def test_destinations_do_not_wait_for_one_another(deliveries: Deliveries) -> None:
    for destination in (CRM, EMAIL):
        deliveries.enqueue(destination=destination, key="booking:1")
    deliveries.crm.outcome = Failed("503", status_code=503, destination_fault=True, retry_after=MINUTE)
    await deliveries.deliver()
    await deliveries.deliver(EMAIL)
    assert deliveries.statuses() == [PENDING, DELIVERED]


# Leases


async def test_messages_of_a_killed_worker_are_reclaimed_after_the_lease(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    await deliveries.claim()
    other = deliveries.worker()
    deliveries.clock.advance(other.lease - timedelta(microseconds=1))
    assert await other.claim(CRM, 24) == []
    deliveries.clock.advance(timedelta(microseconds=1))
    (message,) = await other.claim(CRM, 24)
    assert message.attempt == 2


async def test_renewed_claim_lasts_as_long_as_the_delivery(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    (message,) = await deliveries.claim()
    assert deliveries.due.renew_every * 2 < deliveries.due.lease, "one renewal may be lost"
    for _ in range(10):
        deliveries.clock.advance(deliveries.due.renew_every)
        await deliveries.due.renew(message)
        assert await deliveries.worker().claim(CRM, 24) == []


async def test_released_message_has_lost_no_attempt(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    (message,) = await deliveries.claim()
    await deliveries.due.release(message)
    (again,) = await deliveries.worker().claim(CRM, 24)
    assert (again.id, again.attempt) == (message.id, 1)


async def test_death_of_its_worker_is_a_failed_attempt(deliveries: Deliveries) -> None:
    """A message that kills each worker does not do so for ever."""
    deliveries.enqueue()
    for _ in range(3):
        assert await deliveries.claim()
        deliveries.clock.advance(deliveries.due.lease)
    await deliveries.deliver()

    assert not deliveries.crm.received
    assert deliveries.statuses() == [DEAD]
    assert deliveries.message().last_error == "no attempt was completed: the worker died in each of them"


# Retries


async def test_failed_attempt_is_retried_by_the_schedule(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    deliveries.crm.outcome = BUSY
    for delay in (5 * SECOND, 5 * MINUTE):
        assert len(await deliveries.deliver()) == 1
        assert deliveries.message().due_at == deliveries.clock.moment + delay
        deliveries.clock.advance(delay - timedelta(microseconds=1))
        assert await deliveries.deliver() == []
        deliveries.clock.advance(timedelta(microseconds=1))
    deliveries.crm.outcome = Delivered()
    await deliveries.deliver()
    assert [message.attempt for message in deliveries.crm.received] == [1, 2, 3]
    assert deliveries.statuses() == [DELIVERED]


async def test_retries_vary_by_the_jitter_of_the_schedule(deliveries: Deliveries) -> None:
    delays = [RetrySchedule((SECOND, 100 * SECOND)).next_delay(1, fraction) for fraction in (0.0, 0.5, 1.0)]
    assert delays == [90 * SECOND, 100 * SECOND, 110 * SECOND]


@pytest.mark.parametrize(("retry_after", "delay"), [(SECOND, 5 * SECOND), (MINUTE, MINUTE)])
async def test_message_is_not_retried_earlier_than_its_retry_after(
    deliveries: Deliveries, retry_after: timedelta, delay: timedelta
) -> None:
    deliveries.enqueue()
    deliveries.crm.outcome = Failed("busy", status_code=429, retry_after=retry_after)
    await deliveries.deliver()
    assert deliveries.message().due_at == deliveries.clock.moment + delay


async def test_message_is_dead_after_its_last_attempt(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    deliveries.crm.outcome = BUSY
    for _ in range(5):
        await deliveries.deliver()
        deliveries.clock.advance(5 * MINUTE)
    assert len(deliveries.crm.received) == 3
    assert deliveries.statuses() == [DEAD]
    assert deliveries.message().last_error == "busy"


async def test_message_is_dead_after_a_permanent_failure(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    deliveries.crm.outcome = Failed("refused", permanent=True, status_code=400, retry_after=MINUTE)
    await deliveries.deliver()
    deliveries.clock.advance(MINUTE)
    await deliveries.deliver()
    assert len(deliveries.crm.received) == 1
    assert deliveries.statuses() == [DEAD]


async def test_dead_message_does_not_block_its_successor(deliveries: Deliveries) -> None:
    deliveries.enqueue(2, key="booking:1")
    deliveries.crm.outcome = Failed("refused", permanent=True)
    await deliveries.deliver()
    deliveries.crm.outcome = Delivered()
    await deliveries.deliver()
    assert deliveries.statuses() == [DEAD, DELIVERED]


# Answers for the whole destination


async def test_retry_after_applies_to_all_messages_of_the_destination(deliveries: Deliveries) -> None:
    deliveries.enqueue(3)
    deliveries.crm.outcome = Failed("503", status_code=503, destination_fault=True, retry_after=MINUTE)
    await deliveries.deliver(limit=1)
    deliveries.clock.advance(MINUTE - timedelta(microseconds=1))
    assert await deliveries.deliver() == []
    deliveries.clock.advance(timedelta(microseconds=1))
    deliveries.crm.outcome = Delivered()
    assert len(await deliveries.deliver()) == 3


async def test_retry_after_of_one_message_does_not_pause_the_destination(deliveries: Deliveries) -> None:
    deliveries.enqueue(2)
    deliveries.crm.outcome = Failed("busy", status_code=429, retry_after=MINUTE)
    await deliveries.deliver(limit=1)
    assert len(await deliveries.deliver()) == 1


async def test_destination_is_paused_before_the_result_is_recorded(deliveries: Deliveries) -> None:
    """Else another worker could claim a message between the two."""
    deliveries.enqueue()
    (message,) = await deliveries.claim()

    async def unavailable(*_: object, **__: object) -> bool:
        raise Unavailable

    deliveries.due.outbox.record_result = unavailable  # type: ignore[method-assign]
    outcome = Failed("503", status_code=503, destination_fault=True, retry_after=MINUTE)
    with pytest.raises(Unavailable):
        await deliveries.due.record(message, outcome, SECOND)
    assert deliveries.state().paused_until == deliveries.clock.moment + MINUTE


async def test_destination_that_is_gone_is_halted_until_an_operator_resumes_it(deliveries: Deliveries) -> None:
    deliveries.enqueue(2)
    deliveries.crm.outcome = Failed("410", status_code=410, stop_destination=True)
    await deliveries.deliver(limit=1)
    deliveries.clock.advance(timedelta(days=365))
    assert await deliveries.deliver() == []
    assert deliveries.state().reason == "410"

    deliveries.crm.outcome = Delivered()
    await deliveries.circuit_breakers.resume(CRM)
    assert len(await deliveries.deliver()) == 2
    assert deliveries.statuses() == [DELIVERED, DELIVERED]


async def test_message_that_was_answered_gone_stays_pending_with_all_attempts(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    deliveries.crm.outcome = Failed("410", status_code=410, stop_destination=True)
    for _ in range(5):
        await deliveries.deliver()
        await deliveries.circuit_breakers.resume(CRM)
    assert deliveries.statuses() == [PENDING]
    assert [message.attempt for message in deliveries.crm.received] == [1] * 5


# Failures on our side


async def test_failure_of_our_database_is_retried_soon_and_does_not_count(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    deliveries.crm.outcome = Unavailable()
    for _ in range(5):
        await deliveries.deliver()
        assert deliveries.message().due_at == deliveries.clock.moment + SOON
        deliveries.clock.advance(SOON)
    deliveries.crm.outcome = Delivered()
    await deliveries.deliver()
    assert [message.attempt for message in deliveries.crm.received] == [1] * 6
    assert deliveries.statuses() == [DELIVERED]


async def test_exception_of_a_sender_is_a_failed_attempt_of_that_message(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    deliveries.crm.outcome = KeyError("name")
    await deliveries.deliver()
    message = deliveries.message()
    assert (message.attempts, message.due_at) == (1, deliveries.clock.moment + 5 * SECOND)
    assert message.last_error == "KeyError: 'name'"


async def test_result_is_recorded_even_if_the_circuit_breaker_cannot_be_updated(deliveries: Deliveries) -> None:
    deliveries.enqueue()
    (message,) = await deliveries.claim()

    async def unavailable(*_: object, **__: object) -> None:
        raise Unavailable

    deliveries.circuit_breakers.counts = unavailable  # type: ignore[assignment, method-assign]
    await deliveries.due.record(message, Failed("503", status_code=503, destination_fault=True), SECOND)
    assert deliveries.message().last_error == "503"
