"""Connected calendars, their entries and their busy times in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from application.calendars.ports import (
    CalendarJob,
    CoachCalendar,
    Connection,
    ConnectionView,
    Forgotten,
    OwnEntries,
    Placed,
)
from application.ports import Clock
from domain.accounts import Role, UserId
from domain.appointments import LIVE, Appointment
from domain.calendars import CalendarUnavailable, ConnectionId, ConnectionStatus, Entry, Provider, entry_key
from domain.ids import AppointmentId
from domain.time import Interval
from tests.support.memory.rows import StoredConnection, StoredEntry, appointments_in, connections_in, user_in
from tests.support.memory.store import Store, Tables, Transaction

OUTDATED = -1
"""Sequence of an entry that has to be created again."""


class MemoryConnections:
    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction = transaction
        self._tables = transaction.tables
        self._clock = clock

    async def keep(
        self, user_id: UserId, provider: Provider, access_token: str, refresh_token: str, expires_at: datetime
    ) -> ConnectionId:
        user_in(self._tables, user_id)
        known = _connection_of(self._tables, user_id, provider)
        number = self._transaction.store.next_id("calendar_connections")
        now = self._clock.now()
        row = StoredConnection(
            id=known.id if known else ConnectionId(UUID(int=number)),
            user_id=user_id,
            provider=provider,
            access_token=access_token,
            refresh_token=refresh_token,
            expires_at=expires_at,
            connected_at=now,
            busy_due_at=now,
            busy=known.busy if known else (),
        )
        _save(self._tables, row)
        entries = self._tables.of("calendar_entries")
        for key in [key for key in entries if key[0] == row.id]:
            entries[key] = replace(entries[key], sequence=OUTDATED)
        return row.id

    async def find(self, user_id: UserId, provider: Provider) -> Connection | None:
        row = _connection_of(self._tables, user_id, provider)
        return None if row is None else _connection(row)

    async def find_locked(self, connection_id: ConnectionId) -> Connection | None:
        row = _find(self._tables, connection_id)
        return None if row is None else _connection(row)

    async def lease_refresh(self, connection_id: ConnectionId, until: datetime | None) -> None:
        if (row := _find(self._tables, connection_id)) is not None:
            _save(self._tables, replace(row, refreshing_until=until))

    async def keep_tokens(
        self, connection_id: ConnectionId, access_token: str, refresh_token: str, expires_at: datetime
    ) -> None:
        if (row := _find(self._tables, connection_id)) is not None:
            row = replace(row, access_token=access_token, refresh_token=refresh_token)
            _save(self._tables, replace(row, expires_at=expires_at, refreshing_until=None))

    async def give_up(self, connection_id: ConnectionId, why: str) -> None:
        if (row := _find(self._tables, connection_id)) is not None:
            status = ConnectionStatus.RECONNECT
            _save(self._tables, replace(row, status=status, last_error=why, refreshing_until=None))

    async def forget(self, user_id: UserId, provider: Provider) -> Forgotten | None:
        row = _connection_of(self._tables, user_id, provider)
        if row is None:
            return None
        del self._tables.of("calendar_connections")[user_id, provider]
        entries = self._tables.of("calendar_entries")
        for key in [key for key in entries if key[0] == row.id]:
            del entries[key]
        return Forgotten(row.refresh_token if row.can_be_decrypted else None)

    async def find_job(
        self, booking_id: AppointmentId, user_id: UserId, connection_id: ConnectionId | None
    ) -> CalendarJob | None:
        appointment: Appointment | None = self._tables.of("appointments").get(booking_id)
        if appointment is None or user_id not in {appointment.client_id, appointment.coach_id}:
            return None
        connection = None if connection_id is None else _find(self._tables, connection_id)
        stored = self._tables.of("calendar_entries").get((connection.id, booking_id)) if connection else None
        is_coach = user_id == appointment.coach_id
        other = appointment.client_id if is_coach else appointment.coach_id
        has_earlier = connection_id is not None and any(
            each.user_id == user_id and each.is_active and each.id < connection_id
            for each in connections_in(self._tables)
        )
        entry = Entry(
            key=entry_key(booking_id, user_id),
            title=f"Coaching: {user_in(self._tables, other).name}",
            text=appointment.notes or "",
            session=appointment.session,
            timezone=user_in(self._tables, user_id).timezone or "UTC",
            link=appointment.meeting_link,
            hosts=is_coach and not has_earlier,
        )
        return CalendarJob(
            booking_id=booking_id,
            status=appointment.status,
            sequence=appointment.sequence,
            entry=entry,
            entry_id=stored.entry_id if stored else None,
            put_sequence=stored.sequence if stored else None,
            put_link=stored.link if stored else None,
            connected_at=connection.connected_at if connection else None,
        )

    async def keep_entry(self, connection_id: ConnectionId, job: CalendarJob, placed: Placed, now: datetime) -> None:
        row = _find(self._tables, connection_id)
        if row is not None and row.connected_at == job.connected_at:
            entry = StoredEntry(placed.entry_id, job.entry.session, placed.link, job.sequence)
            self._tables.of("calendar_entries")[connection_id, job.booking_id] = entry

    async def find_entries(self, user_id: UserId, provider: Provider, *, limit: int) -> Sequence[AppointmentId]:
        row = _connection_of(self._tables, user_id, provider)
        entries = self._tables.of("calendar_entries")
        return sorted(key[1] for key in entries if row is not None and key[0] == row.id)[:limit]

    async def forget_entry(self, connection_id: ConnectionId, booking_id: AppointmentId) -> None:
        self._tables.of("calendar_entries").pop((connection_id, booking_id), None)


class MemoryConnectionQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_of(self, user_id: UserId) -> Sequence[ConnectionView]:
        rows = [row for row in connections_in(self._store.tables) if row.user_id == user_id]
        return [
            ConnectionView(row.provider, row.status, row.connected_at, row.busy_read_at)
            for row in sorted(rows, key=lambda row: row.provider)
        ]


class MemoryBusyTimeStore:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def claim_due(self, *, limit: int, every: timedelta) -> Sequence[CoachCalendar]:
        now = self._clock.now()
        async with self._store.transaction() as transaction:
            due = [
                row
                for row in connections_in(transaction.tables)
                if row.is_active
                and row.busy_due_at <= now
                and user_in(transaction.tables, row.user_id).role in {Role.FACILITATOR, Role.ADMIN}
            ]
            due = sorted(due, key=lambda row: row.busy_due_at)[:limit]
            for row in due:
                _save(transaction.tables, replace(row, busy_due_at=now + every))
            transaction.commit()
        return [_calendar(row) for row in due]

    async def list_stale(self, coach: UUID, *, older_than: timedelta) -> Sequence[CoachCalendar]:
        tables, before = self._store.tables, self._clock.now() - older_than
        return [
            _calendar(row)
            for row in connections_in(tables)
            if row.is_active
            and user_in(tables, row.user_id).uuid == coach
            and (row.busy_read_at is None or row.busy_read_at < before)
        ]

    async def own_entries(self, calendar: CoachCalendar, window: Interval) -> OwnEntries:
        tables = self._store.tables
        live = {
            each.id: each.session
            for each in appointments_in(tables)
            if each.coach_id == calendar.coach_id and each.status in LIVE and _overlap(each.session, window)
        }
        stored: dict[AppointmentId, StoredEntry] = {
            key[1]: entry
            for key, entry in tables.of("calendar_entries").items()
            if key[0] == calendar.id and _overlap(entry.session, window)
        }
        return OwnEntries(
            entry_ids={entry.entry_id for entry in stored.values()},
            keys={str(entry_key(booking_id, calendar.coach_id)) for booking_id in (*live, *stored)},
            times=[*live.values(), *(entry.session for entry in stored.values())],
        )

    async def keep(
        self, calendar: CoachCalendar, busy: Sequence[Interval], *, began: datetime, next_in: timedelta
    ) -> None:
        async with self._store.transaction() as transaction:
            row = _find(transaction.tables, calendar.id)
            if (
                row is not None
                and row.is_active
                and row.connected_at <= began
                and (row.busy_read_at is None or row.busy_read_at < began)
            ):
                row = replace(row, busy_read_at=began, busy_due_at=self._clock.now() + next_in, last_error=None)
                _save(transaction.tables, replace(row, busy=tuple(dict.fromkeys(busy))))
            transaction.commit()

    async def postpone(self, calendar: CoachCalendar, why: str, *, at_most: timedelta) -> None:
        now = self._clock.now()
        async with self._store.transaction() as transaction:
            if (row := _find(transaction.tables, calendar.id)) is not None:
                failing_for = now - (row.busy_read_at or row.connected_at)
                due_at = now + min(at_most, max(timedelta(minutes=5), failing_for))
                _save(transaction.tables, replace(row, busy_due_at=due_at, last_error=why))
            transaction.commit()


def _overlap(one: Interval, other: Interval) -> bool:
    return one.starts_at < other.ends_at and other.starts_at < one.ends_at


def _connection_of(tables: Tables, user_id: UserId, provider: Provider) -> StoredConnection | None:
    row: StoredConnection | None = tables.of("calendar_connections").get((user_id, provider))
    return row


def _find(tables: Tables, connection_id: ConnectionId) -> StoredConnection | None:
    return next((row for row in connections_in(tables) if row.id == connection_id), None)


def _save(tables: Tables, row: StoredConnection) -> None:
    tables.of("calendar_connections")[row.user_id, row.provider] = row


def _connection(row: StoredConnection) -> Connection:
    if not row.can_be_decrypted:
        raise CalendarUnavailable
    return Connection(
        id=row.id,
        user_id=row.user_id,
        provider=row.provider,
        status=row.status,
        access_token=row.access_token,
        refresh_token=row.refresh_token,
        expires_at=row.expires_at,
        refreshing_until=row.refreshing_until,
    )


def _calendar(row: StoredConnection) -> CoachCalendar:
    return CoachCalendar(row.id, row.user_id, row.provider)
