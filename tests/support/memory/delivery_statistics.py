"""Delivery statistics in memory."""

from collections.abc import Sequence

from application.outbox.ports import CircuitBreaker, DestinationStatistics
from application.ports import Clock
from domain.outbox import Destination, MessageStatus
from tests.support.memory.claims import DestinationRow, OutboxRow
from tests.support.memory.store import Store


class MemoryDeliveryStatistics:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def by_destination(self) -> Sequence[DestinationStatistics]:
        return [self._statistics(destination) for destination in Destination]

    def _statistics(self, destination: Destination) -> DestinationStatistics:
        now = self._clock.now()
        state: DestinationRow = self._store.tables.of("destinations").get(destination, DestinationRow())
        rows: list[OutboxRow] = list(self._store.tables.of("outbox").values())
        statuses = [row.status for row in rows if row.destination is destination]
        due = [row.due_at for row in rows if row.destination is destination and row.status is MessageStatus.PENDING]
        oldest = min(due, default=None)
        circuit = CircuitBreaker.CLOSED
        if state.tripped_at is not None and state.probe_at is not None:
            circuit = CircuitBreaker.OPEN if state.probe_at > now else CircuitBreaker.HALF_OPEN
        is_paused = state.paused_until is not None and state.paused_until > now
        is_restricted = is_paused or state.tripped_at is not None or state.halted_at is not None
        return DestinationStatistics(
            destination=destination,
            pending=statuses.count(MessageStatus.PENDING),
            oldest_due_seconds=(now - oldest).total_seconds() if oldest is not None and oldest <= now else None,
            held=statuses.count(MessageStatus.HELD),
            dead=statuses.count(MessageStatus.DEAD),
            circuit=circuit,
            paused_until=state.paused_until if is_paused else None,
            halted=state.halted_at is not None,
            reason=state.reason if is_restricted else None,
        )
