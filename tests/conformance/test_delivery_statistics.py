"""The port of delivery statistics, in memory and in PostgreSQL."""

from application.outbox.ports import CircuitBreaker, DestinationStatistics
from domain.outbox import Delivered, Destination, Failed
from tests.conformance.outbox_adapters import EMAIL, LONG, NONE, Outbox


async def statistics(outbox: Outbox) -> DestinationStatistics:
    (found,) = [each for each in await outbox.statistics.by_destination() if each.destination is EMAIL]
    return found


async def test_every_destination_has_an_entry(outbox: Outbox) -> None:
    assert [each.destination for each in await outbox.statistics.by_destination()] == list(Destination)
    assert await statistics(outbox) == DestinationStatistics(
        EMAIL, 0, None, 0, 0, CircuitBreaker.CLOSED, paused_until=None, halted=False, reason=None
    )


async def test_pending_and_dead_messages_are_counted(outbox: Outbox) -> None:
    await outbox.enqueue(1, 1, 1, 2)
    first, second, third, _ = await outbox.claim()
    await outbox.record(first, Delivered())
    await outbox.record(second, Failed("refused", permanent=True))
    await outbox.record(third, Failed("busy"), retry_in=LONG)
    found = await statistics(outbox)
    assert (found.pending, found.dead) == (3, 1)
    assert found.oldest_due_seconds is not None, "the second message of the last ordering key is due"


async def test_without_a_due_message_there_is_no_delay(outbox: Outbox) -> None:
    await outbox.enqueue(1)
    await outbox.claimed()
    found = await statistics(outbox)
    assert (found.pending, found.oldest_due_seconds) == (1, None)


async def test_circuit_is_half_open_when_its_probe_is_due(outbox: Outbox) -> None:
    await outbox.breakers.trip(EMAIL, probe_in=NONE, reason="failing")
    found = await statistics(outbox)
    assert (found.circuit, found.reason) == (CircuitBreaker.HALF_OPEN, "failing")
    await outbox.breakers.close(EMAIL)
    found = await statistics(outbox)
    assert (found.circuit, found.reason) == (CircuitBreaker.CLOSED, None)


async def test_circuit_is_open_before_its_probe(outbox: Outbox) -> None:
    await outbox.breakers.trip(EMAIL, probe_in=LONG, reason="failing")
    assert (await statistics(outbox)).circuit is CircuitBreaker.OPEN


async def test_pause_is_shown_until_it_ends(outbox: Outbox) -> None:
    await outbox.breakers.pause(EMAIL, NONE, reason="busy")
    found = await statistics(outbox)
    assert (found.paused_until, found.reason) == (None, None)
    await outbox.breakers.pause(EMAIL, LONG, reason="busy")
    found = await statistics(outbox)
    assert found.paused_until is not None
    assert found.reason == "busy"


async def test_halt_is_shown(outbox: Outbox) -> None:
    await outbox.breakers.halt(EMAIL, reason="gone")
    found = await statistics(outbox)
    assert (found.halted, found.reason) == (True, "gone")
