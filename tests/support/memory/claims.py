"""The outbox in memory: claims, circuit breakers, dead letters. Times are those of the test's clock."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from application.audit.ports import new_trails
from application.outbox.ports import (
    AttemptMade,
    KeptMessages,
    MessageFilter,
    Replay,
    StoredMessage,
    StoredMessageDetail,
)
from application.ports import Clock, Page, PageRequest
from domain.audit import AuditAction
from domain.audit_effects import record_decision, record_decisions
from domain.circuit_breaker import AttemptCounts, destination_is_healthy
from domain.outbox import (
    DISCARDABLE,
    Delivered,
    Destination,
    Failed,
    Held,
    Message,
    MessageId,
    MessageNotDead,
    MessageNotDiscardable,
    MessageNotFound,
    MessageStatus,
    MessageType,
    Outcome,
)
from infrastructure.postgres.pages import cursor_of, uuid_after
from tests.support.memory.audit_log import AUDIT_KEY, store_entries
from tests.support.memory.store import Store, Tables


@dataclass
class OutboxRow:
    """`due_at` is also the lease: a claim moves it ahead."""

    id: MessageId
    seq: int
    destination: Destination
    ordering_key: str
    message_type: str
    payload: dict[str, Any]
    request_id: str | None
    occurred_at: datetime
    due_at: datetime
    status: MessageStatus = MessageStatus.PENDING
    attempts: int = 0
    claimed_by: UUID | None = None
    settled_at: datetime | None = None
    last_error: str | None = None
    held_for: str | None = None
    attempts_made: list[AttemptMade] = field(default_factory=list)


def add_to_outbox(
    store: Store,
    tables: Tables,
    *,
    destination: Destination,
    ordering_key: str,
    message_type: str,
    payload: dict[str, Any],
    now: datetime,
    request_id: str | None = None,
) -> MessageId:
    seq = store.next_id("outbox")
    message_id = MessageId(UUID(int=seq))
    tables.of("outbox")[message_id] = OutboxRow(
        message_id, seq, destination, ordering_key, message_type, payload, request_id, occurred_at=now, due_at=now
    )
    return message_id


def release_held(tables: Tables, addresses: Collection[str], now: datetime, *, limit: int = 500) -> int:
    """Makes what is held for these addresses pending, the oldest first; returns the number."""
    outbox: dict[MessageId, OutboxRow] = tables.of("outbox")
    held = [row for row in outbox.values() if row.status is MessageStatus.HELD and row.held_for in addresses]
    for row in held[:limit]:
        outbox[row.id] = replace(row, status=MessageStatus.PENDING, attempts=0, due_at=now, settled_at=None)
    return len(held[:limit])


class MemoryOutboxClaims:
    """The claims of one worker, marked by its token."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._token = uuid4()

    async def claim(
        self, destination: Destination, *, limit: int, lease: timedelta, probe_every: timedelta
    ) -> Sequence[Message]:
        now = self._clock.now()
        state = _state(self._store, destination)
        due = [] if state.is_shut(now) else self._due(destination, now)[: 1 if state.tripped_at else limit]
        is_probe = bool(due) and state.tripped_at is not None
        if is_probe:
            state.probe_at = now + probe_every
        for row in due:
            if row.claimed_by is not None:
                reclaimed = "reclaimed: the lease of its worker expired"
                row.attempts_made.append(AttemptMade(row.attempts, now, 0, "failed", None, reclaimed, False))
            row.due_at, row.claimed_by, row.attempts = now + lease, self._token, row.attempts + 1
        return [
            Message(
                id=row.id,
                destination=destination,
                ordering_key=row.ordering_key,
                message_type=MessageType(row.message_type),
                payload=row.payload,
                attempt=row.attempts,
                occurred_at=row.occurred_at,
                request_id=row.request_id,
                probe=is_probe,
                was_held=row.held_for is not None,
            )
            for row in sorted(due, key=lambda row: row.seq)
        ]

    async def renew(self, message: Message, *, lease: timedelta) -> None:
        if (row := self._own(message)) is not None:
            row.due_at = self._clock.now() + lease

    async def release(self, message: Message) -> None:
        if (row := self._own(message)) is not None:
            row.due_at, row.claimed_by, row.attempts = self._clock.now(), None, row.attempts - 1

    async def record_result(
        self, message: Message, outcome: Outcome, *, took: timedelta, retry_in: timedelta | None
    ) -> bool:
        """The attempt is stored, and counted for the destination, even if the claim was lost."""
        now = self._clock.now()
        is_delivered = isinstance(outcome, Delivered)
        is_held = isinstance(outcome, Held)
        detail = outcome.answer if isinstance(outcome, Delivered) else outcome.reason
        if (stored := self._rows.get(message.id)) is not None and not isinstance(outcome, Held):
            result = "delivered" if is_delivered else "failed"
            took_ms = round(took.total_seconds() * 1000)
            made = (message.attempt, now - took, took_ms, result, outcome.status_code, detail, message.probe)
            stored.attempts_made.append(AttemptMade(*made))
        if (healthy := destination_is_healthy(outcome)) is not None:
            _state(self._store, message.destination).counted.append((now.replace(second=0, microsecond=0), healthy))
        row = self._own(message)
        if row is None:
            return False
        row.claimed_by, row.last_error = None, None if is_delivered else detail
        if isinstance(outcome, Held):
            row.held_for = outcome.address
        if is_held or (isinstance(outcome, Failed) and (outcome.stop_destination or outcome.not_attempted)):
            row.attempts -= 1
        if retry_in is not None and not is_delivered:
            row.due_at = now + retry_in
            return False
        ended = MessageStatus.DELIVERED if is_delivered else MessageStatus.DEAD
        row.status = MessageStatus.HELD if is_held else ended
        row.settled_at = now
        successor = self._first_pending(row.destination, row.ordering_key)
        if successor is None or successor.claimed_by is not None:
            return False
        if successor.attempts == 0:
            successor.due_at = min(successor.due_at, now)
        return successor.due_at <= now

    def _due(self, destination: Destination, now: datetime) -> list[OutboxRow]:
        """The oldest pending message of each ordering key, if it is due."""
        rows = [
            row
            for row in self._rows.values()
            if (row.destination, row.status) == (destination, MessageStatus.PENDING)
            and row.due_at <= now
            and row.message_type in list(MessageType)
            and row is self._first_pending(destination, row.ordering_key)
        ]
        return sorted(rows, key=lambda row: (row.due_at, row.seq))

    def _first_pending(self, destination: Destination, ordering_key: str) -> OutboxRow | None:
        sought = (destination, ordering_key, MessageStatus.PENDING)
        rows = [row for row in self._rows.values() if (row.destination, row.ordering_key, row.status) == sought]
        return min(rows, key=lambda row: row.seq, default=None)

    def _own(self, message: Message) -> OutboxRow | None:
        row = self._rows.get(message.id)
        own = self._token, message.attempt, MessageStatus.PENDING
        return row if row is not None and (row.claimed_by, row.attempts, row.status) == own else None

    @property
    def _rows(self) -> dict[MessageId, OutboxRow]:
        return self._store.tables.of("outbox")


@dataclass
class DestinationRow:
    """`counted`: the minute of each attempt that counts, and whether it shows a healthy destination."""

    tripped_at: datetime | None = None
    probe_at: datetime | None = None
    paused_until: datetime | None = None
    halted_at: datetime | None = None
    reason: str | None = None
    counted: list[tuple[datetime, bool]] = field(default_factory=list)

    def is_shut(self, now: datetime) -> bool:
        return (
            self.halted_at is not None
            or (self.paused_until is not None and self.paused_until > now)
            or (self.probe_at is not None and self.probe_at > now)
        )


class MemoryCircuitBreakers:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def pause(self, destination: Destination, wait: timedelta, *, reason: str) -> None:
        state, until = _state(self._store, destination), self._clock.now() + wait
        state.paused_until = max(state.paused_until or until, until)
        state.reason = reason

    async def halt(self, destination: Destination, *, reason: str) -> None:
        state = _state(self._store, destination)
        if state.halted_at is None:
            state.halted_at, state.reason = self._clock.now(), reason

    async def counts(self, destination: Destination, *, window: timedelta) -> AttemptCounts:
        since = self._clock.now() - window
        counted = [healthy for minute, healthy in _state(self._store, destination).counted if minute > since]
        return AttemptCounts(len(counted), counted.count(False))

    async def trip(self, destination: Destination, *, probe_in: timedelta, reason: str) -> None:
        state = _state(self._store, destination)
        if state.tripped_at is None:
            now = self._clock.now()
            state.tripped_at, state.probe_at, state.reason = now, now + probe_in, reason

    async def close(self, destination: Destination) -> None:
        state = _state(self._store, destination)
        if state.tripped_at is not None:
            state.tripped_at = state.probe_at = None
            state.counted.clear()

    async def resume(self, destination: Destination) -> bool:
        state = _state(self._store, destination)
        was_shut = state.tripped_at is not None or state.is_shut(self._clock.now())
        if was_shut:
            state.tripped_at = state.probe_at = state.paused_until = state.halted_at = None
            state.counted.clear()
        return was_shut


def _state(store: Store, destination: Destination) -> DestinationRow:
    row: DestinationRow = store.tables.of("destinations").setdefault(destination, DestinationRow())
    return row


class MemoryDeadLetters:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self, filter_: MessageFilter, page: PageRequest) -> Page[StoredMessage]:
        before = uuid_after(page.after)
        rows = [
            row
            for row in sorted(self._rows.values(), key=lambda row: row.id, reverse=True)
            if filter_.status in {None, row.status}
            and filter_.destination in {None, row.destination}
            and (filter_.since is None or row.occurred_at >= filter_.since)
            and (before is None or row.id < before)
        ]
        shown = rows[: page.limit]
        return Page(
            [_stored_message(row) for row in shown], cursor_of(shown[-1].id) if len(rows) > len(shown) else None
        )

    async def show(self, message_id: UUID) -> StoredMessageDetail:
        row = self._row(message_id)
        return StoredMessageDetail(
            message=_stored_message(row),
            settled_at=row.settled_at,
            request_id=row.request_id,
            in_flight=row.claimed_by is not None and row.due_at > self._clock.now(),
            attempts_made=tuple(row.attempts_made),
            payload=row.payload,
        )

    async def replay(self, message_id: UUID) -> None:
        self._replay(self._dead(message_id))
        self._decided(AuditAction.MESSAGES_REPLAYED, message_id)

    async def replay_all(self, *, destination: Destination | None, since: datetime | None) -> int:
        rows = self._all_of(MessageStatus.DEAD, destination, since)
        for row in rows:
            self._replay(row)
        self._all_decided(AuditAction.MESSAGES_REPLAYED, destination, since, len(rows))
        return len(rows)

    async def replay_since(self, destination: Destination, since: datetime, *, per_second: int, most: int) -> Replay:
        delivered = [
            row
            for row in self._rows.values()
            if (row.destination, row.status) == (destination, MessageStatus.DELIVERED)
            and row.settled_at is not None
            and row.settled_at >= since
        ]
        rows = [*self._all_of(MessageStatus.DEAD, destination, since), *delivered]
        if len(rows) > most:
            return Replay(most + 1, 0)
        places = {key: place for place, key in reversed(list(enumerate(row.ordering_key for row in rows)))}
        for row in rows:
            self._replay(row)
            row.due_at += timedelta(seconds=places[row.ordering_key] / per_second)
        self._all_decided(AuditAction.MESSAGES_REPLAYED, destination, since, len(rows))
        return Replay(len(rows), max((row.seq for row in rows), default=0))

    async def kept(self) -> Sequence[KeptMessages]:
        kinds: dict[tuple[str, MessageStatus], list[datetime]] = {}
        for row in self._rows.values():
            kinds.setdefault((row.destination, row.status), []).append(row.occurred_at)
        return [KeptMessages(*kind, min(times), max(times)) for kind, times in sorted(kinds.items())]

    async def discard(self, message_id: UUID) -> None:
        row = self._row(message_id)
        if row.status not in DISCARDABLE:
            raise MessageNotDiscardable
        self._discard(row)
        self._decided(AuditAction.MESSAGES_DISCARDED, message_id)

    async def discard_all(
        self, *, destination: Destination | None, since: datetime | None, status: MessageStatus = MessageStatus.DEAD
    ) -> int:
        rows = self._all_of(status, destination, since)
        for row in rows:
            self._discard(row)
        self._all_decided(AuditAction.MESSAGES_DISCARDED, destination, since, len(rows))
        return len(rows)

    def _decided(self, action: AuditAction, message_id: UUID) -> None:
        trail = new_trails(AUDIT_KEY)()
        record_decision(trail, action, message_id)
        store_entries(self._store, self._clock, trail)

    def _all_decided(
        self, action: AuditAction, destination: Destination | None, since: datetime | None, messages: int
    ) -> None:
        trail = new_trails(AUDIT_KEY)()
        record_decisions(trail, action, destination, since, messages)
        store_entries(self._store, self._clock, trail)

    def _replay(self, row: OutboxRow) -> None:
        row.status, row.attempts, row.due_at, row.settled_at = MessageStatus.PENDING, 0, self._clock.now(), None

    def _discard(self, row: OutboxRow) -> None:
        row.status, row.settled_at = MessageStatus.DISCARDED, self._clock.now()

    def _row(self, message_id: UUID) -> OutboxRow:
        row = self._rows.get(MessageId(message_id))
        if row is None:
            raise MessageNotFound
        return row

    def _dead(self, message_id: UUID) -> OutboxRow:
        row = self._row(message_id)
        if row.status is not MessageStatus.DEAD:
            raise MessageNotDead
        return row

    def _all_of(
        self, status: MessageStatus, destination: Destination | None, since: datetime | None
    ) -> Sequence[OutboxRow]:
        return [
            row
            for row in self._rows.values()
            if row.status is status
            and destination in {None, row.destination}
            and (since is None or row.occurred_at >= since)
        ]

    @property
    def _rows(self) -> dict[MessageId, OutboxRow]:
        return self._store.tables.of("outbox")


def _stored_message(row: OutboxRow) -> StoredMessage:
    return StoredMessage(
        id=row.id,
        destination=row.destination,
        message_type=row.message_type,
        ordering_key=row.ordering_key,
        status=row.status,
        attempts=row.attempts,
        occurred_at=row.occurred_at,
        due_at=row.due_at,
        last_error=row.last_error,
    )
