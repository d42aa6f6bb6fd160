"""Reminders of bookings and appointments in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from application.notifications.ports import QueuedReminder, ReminderView
from application.ports import Clock, Page, PageRequest
from domain.accounts import UserId
from domain.appointments import AppointmentStatus
from domain.bookings import BookingStatus
from domain.events import EventId
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef, PayableRef
from domain.outbox import Destination, MessageId, MessageStatus, MessageType
from domain.reminders import Reminded, Reminder, ReminderId, ReminderStatus, SkipReason
from infrastructure.postgres.pages import cursor_of, moment_and_uuid_after
from tests.support.memory.claims import OutboxRow, add_to_outbox
from tests.support.memory.rows import StoredReminder, appointment_in, booking_in, bookings_of, event_in, user_in
from tests.support.memory.store import Store, Tables, Transaction

_PLANNED_AGAIN = {SkipReason.BOOKING_CANCELLED, SkipReason.MOVED}


class MemoryReminders:
    """One row for each booking, person, offset and start."""

    def __init__(self, transaction: Transaction, clock: Clock, offsets: Sequence[timedelta] = ()) -> None:
        self._transaction = transaction
        self._clock = clock
        self._offsets = offsets

    async def align_bookings(self, bookings: Sequence[BookingId]) -> None:
        for booking_id in bookings:
            self._align(BookingRef(booking_id), [booking_in(self._transaction.tables, booking_id).user_id])

    async def align_event(self, event_id: EventId) -> None:
        await self.align_bookings([booking.id for booking in bookings_of(self._transaction.tables, event_id)])

    async def align_appointments(self, appointments: Sequence[AppointmentId]) -> None:
        for appointment_id in appointments:
            appointment = appointment_in(self._transaction.tables, appointment_id)
            self._align(AppointmentRef(appointment_id), [appointment.client_id, appointment.coach_id])

    def _align(self, about: PayableRef, people: Collection[UserId]) -> None:
        tables, now = self._transaction.tables, self._clock.now()
        rows, state = tables.of("reminders"), reminded(tables, about, now)
        for key, row in list(rows.items()):
            if row.about != about or row.status is not ReminderStatus.PLANNED:
                continue
            if state.is_cancelled or row.starts_at != state.starts_at:
                why = SkipReason.BOOKING_CANCELLED if state.is_cancelled else SkipReason.MOVED
                rows[key] = replace(row, status=ReminderStatus.SKIPPED, reason=why, settled_at=now)
        for user_id in people:
            for before in () if state.is_cancelled else self._offsets:
                key = (about, user_id, before, state.starts_at)
                if state.starts_at - before <= now:
                    continue
                if key not in rows:
                    rows[key] = StoredReminder(*key, ReminderId(UUID(int=self._transaction.store.next_id("reminders"))))
                elif rows[key].reason in _PLANNED_AGAIN:
                    rows[key] = replace(rows[key], status=ReminderStatus.PLANNED, reason=None, settled_at=None)

    async def claim_due(self, now: datetime, *, limit: int) -> Sequence[tuple[Reminder, Reminded]]:
        tables = self._transaction.tables
        due = [row for row in _rows(tables) if row.status is ReminderStatus.PLANNED and row.due_at <= now]
        return [_seen(tables, row, now) for row in sorted(due, key=lambda row: row.due_at)[:limit]]

    async def queue(self, reminders: Sequence[ReminderId]) -> None:
        for reminder_id in reminders:
            message_id = add_to_outbox(
                self._transaction.store,
                self._transaction.tables,
                destination=Destination.EMAIL,
                ordering_key=f"reminder:{reminder_id}",
                message_type=MessageType.BOOKING_REMINDER,
                payload={"reminder_id": str(reminder_id)},
                now=self._clock.now(),
            )
            row = _row(self._transaction.tables, reminder_id)
            _save(self._transaction.tables, replace(row, status=ReminderStatus.QUEUED, message_id=message_id))

    async def skip(self, reminders: Sequence[ReminderId], why: SkipReason, now: datetime) -> None:
        for reminder_id in reminders:
            row = _row(self._transaction.tables, reminder_id)
            skipped = replace(row, status=ReminderStatus.SKIPPED, reason=why, settled_at=now)
            _save(self._transaction.tables, skipped)


class MemoryReminderQueries:
    """The payload of a queued reminder has only the reference to its subject."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, reminder_id: ReminderId, now: datetime) -> QueuedReminder | None:
        tables = self._store.tables
        for row in _rows(tables):
            if row.id == reminder_id and row.status is not ReminderStatus.SENT:
                kind = "booking" if isinstance(row.about, BookingRef) else "coaching"
                return QueuedReminder(*_seen(tables, row, now), {kind: {"id": str(row.about.id)}})
        return None

    async def list_of(self, about: PayableRef, page: PageRequest) -> Page[ReminderView]:
        due_after, id_after = moment_and_uuid_after(page.after)
        rows = sorted(
            (row for row in _rows(self._store.tables) if row.about == about), key=lambda row: (row.due_at, row.id)
        )
        if due_after is not None and id_after is not None:
            rows = [row for row in rows if (row.due_at, row.id) > (due_after, id_after)]
        shown = rows[: page.limit]
        following = cursor_of(shown[-1].due_at, shown[-1].id) if len(rows) > len(shown) else None
        return Page([self._view(row) for row in shown], following)

    def _view(self, row: StoredReminder) -> ReminderView:
        given_up = self._given_up(row)
        return ReminderView(
            before=row.before,
            starts_at=row.starts_at,
            due_at=row.due_at,
            status=row.status if given_up is None else ReminderStatus.FAILED,
            reason=given_up or row.reason,
            settled_at=row.settled_at,
            user_name=user_in(self._store.tables, row.user_id).name,
        )

    def _given_up(self, row: StoredReminder) -> SkipReason | None:
        if row.status is not ReminderStatus.QUEUED or row.message_id is None:
            return None
        messages: dict[MessageId, OutboxRow] = self._store.tables.of("outbox")
        message = messages.get(row.message_id)
        if message is None or message.status is MessageStatus.DISCARDED:
            return SkipReason.DISCARDED
        return SkipReason.UNDELIVERABLE if message.status is MessageStatus.DEAD else None


class MemoryReminderResults:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def record(self, reminder_id: ReminderId, why: SkipReason | None, now: datetime) -> None:
        async with self._store.transaction() as transaction:
            row = _row(transaction.tables, reminder_id)
            if row.status is not ReminderStatus.SENT:
                status = ReminderStatus.SENT if why is None else ReminderStatus.SKIPPED
                _save(transaction.tables, replace(row, status=status, reason=why, settled_at=now))
            transaction.commit()


def reminded(tables: Tables, about: PayableRef, now: datetime) -> Reminded:
    if isinstance(about, BookingRef):
        booking = booking_in(tables, about.id)
        starts_at, hold_until = event_in(tables, booking.event_id).details.interval.starts_at, booking.hold_until
        is_cancelled = booking.status is BookingStatus.CANCELLED
        is_confirmed, is_over = booking.status is BookingStatus.CONFIRMED, booking.status is BookingStatus.COMPLETED
    else:
        appointment = appointment_in(tables, about.id)
        starts_at, hold_until, status = appointment.session.starts_at, None, appointment.status
        is_cancelled = status is AppointmentStatus.CANCELLED
        is_confirmed, is_over = status is AppointmentStatus.CONFIRMED, status is AppointmentStatus.COMPLETED
    is_held = hold_until is None or hold_until > now
    return Reminded(starts_at, is_cancelled, is_confirmed and is_held, is_over)


def _seen(tables: Tables, row: StoredReminder, now: datetime) -> tuple[Reminder, Reminded]:
    is_superseded = any(
        (other.about, other.user_id, other.starts_at) == (row.about, row.user_id, row.starts_at)
        and other.before < row.before
        and other.due_at <= now
        for other in _rows(tables)
    )
    reminder = Reminder(row.id, row.about, row.user_id, row.before, row.starts_at, latest=not is_superseded)
    return reminder, reminded(tables, row.about, now)


def _rows(tables: Tables) -> list[StoredReminder]:
    return list(tables.of("reminders").values())


def _row(tables: Tables, reminder_id: ReminderId) -> StoredReminder:
    (row,) = [row for row in _rows(tables) if row.id == reminder_id]
    return row


def _save(tables: Tables, row: StoredReminder) -> None:
    tables.of("reminders")[row.about, row.user_id, row.before, row.starts_at] = row
