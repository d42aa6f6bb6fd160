"""Erasure of accounts in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from application.audit.ports import new_trails
from application.erasure.ports import Ahead
from application.ports import Clock
from domain.accounts import User, UserId
from domain.appointments import LIVE
from domain.audit import AuditAction, AuditTrail
from domain.audit_effects import account
from domain.bookings import BookingStatus
from domain.erasure import ERASED_NAME, Erasure, Identifiers, erased_email
from domain.events import EventStatus
from domain.ids import AppointmentRef, PayableRef
from domain.invitations import Invitation, InvitationStatus
from domain.outbox import Destination, MessageStatus, MessageType
from tests.support.memory.audit_log import AUDIT_KEY, write_entries
from tests.support.memory.claims import OutboxRow, add_to_outbox
from tests.support.memory.rows import appointment_in, appointments_in, booking_in, change_mails_in, event_in
from tests.support.memory.store import Store, Tables, Transaction


class MemoryErasures:
    def __init__(self, transaction: Transaction, audit: AuditTrail) -> None:
        self._rows: dict[UserId, Erasure] = transaction.tables.of("erasures")
        self._audit = audit

    async def add(self, user_id: UserId, now: datetime, *, due_at: datetime) -> Erasure:
        erasure = self._rows[user_id] = Erasure(user_id, now, due_at)
        self._audit.record(AuditAction.ERASURE_REQUESTED, account(user_id), after={"due_at": due_at.isoformat()})
        return erasure

    async def find(self, user_id: UserId) -> Erasure | None:
        return self._rows.get(user_id)

    async def withdraw(self, user_id: UserId) -> None:
        del self._rows[user_id]
        self._audit.record(AuditAction.ERASURE_WITHDRAWN, account(user_id))

    async def begin(self, user_id: UserId, now: datetime) -> None:
        self._rows[user_id] = replace(self._rows[user_id], begun_at=now)


class MemoryErasureStore:
    """Erases the account itself, and waiting mails about changes. Its messages are those with its id in a payload, or
    about its bookings."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list_due(self, now: datetime, *, limit: int) -> Sequence[UserId]:
        rows: list[Erasure] = list(self._store.tables.of("erasures").values())
        due = [each for each in rows if each.erased_at is None and each.due_at <= now]
        return [each.user_id for each in sorted(due, key=lambda each: (each.due_at, each.user_id))[:limit]]

    async def find_ahead(self, user_id: UserId, now: datetime, *, limit: int) -> Ahead:
        tables = self._store.tables
        user: User = tables.of("users")[user_id]
        invitations: list[Invitation] = list(tables.of("invitations").values())
        bookings = [
            booking.id
            for booking in tables.of("bookings").values()
            if booking.user_id == user_id and booking.status is BookingStatus.CONFIRMED
            if event_in(tables, booking.event_id).details.interval.starts_at > now
        ]
        appointments = [
            each.id
            for each in appointments_in(tables)
            if user_id in {each.client_id, each.coach_id} and each.status in LIVE and each.session.starts_at > now
        ]
        events = [
            each.id
            for each in tables.of("events").values()
            if each.facilitator_id == user_id and each.status is EventStatus.ACTIVE and not each.is_over(now)
        ]
        pending = [
            each.id for each in invitations if each.email == user.email and each.status is InvitationStatus.PENDING
        ]
        return Ahead(bookings[:limit], appointments[:limit], events[:limit], pending[:limit])

    async def has_pending_messages(self, user_id: UserId) -> bool:
        rows: list[OutboxRow] = list(self._store.tables.of("outbox").values())
        return any(row.status is MessageStatus.PENDING and self._is_about(row, user_id) for row in rows)

    async def find_identifiers(self, user_id: UserId) -> Identifiers:
        user: User = self._store.tables.of("users")[user_id]
        return Identifiers(names=[user.name, *filter(None, [user.phone])], addresses=[user.email])

    async def erase(self, user_id: UserId, identifiers: Identifiers) -> bool:
        async with self._store.transaction() as transaction:
            tables, now = transaction.tables, self._clock.now()
            erasure: Erasure | None = tables.of("erasures").get(user_id)
            if erasure is None or erasure.erased_at is not None:
                return False
            user: User = tables.of("users")[user_id]
            tables.of("users")[user_id] = replace(
                user,
                name=ERASED_NAME,
                email=erased_email(user.uuid),
                phone=None,
                timezone=None,
                external_id=None,
                profile_picture=None,
                requested_role=None,
                is_active=False,
                is_verified=False,
            )
            tables.of("passwords").pop(user_id, None)
            tables.of("erasures")[user_id] = replace(erasure, erased_at=now)
            waiting = change_mails_in(tables)
            for about in [each for each in waiting if self._is_of(tables, each, user_id)]:
                del waiting[about]
            add_to_outbox(
                self._store,
                tables,
                destination=Destination.CRM,
                ordering_key=f"user:{user_id}",
                message_type=MessageType.USER_ERASED,
                payload={"user": {"id": user_id}},
                now=now,
            )
            trail = new_trails(AUDIT_KEY)()
            trail.record(AuditAction.ACCOUNT_ERASED, account(user_id))
            write_entries(transaction, self._clock, trail)
            transaction.commit()
        return True

    def _is_of(self, tables: Tables, about: PayableRef, user_id: UserId) -> bool:
        """Whether the person has booked it or offers it."""
        if isinstance(about, AppointmentRef):
            appointment = appointment_in(tables, about.id)
            return user_id in {appointment.client_id, appointment.coach_id}
        booking = booking_in(tables, about.id)
        return user_id in {booking.user_id, event_in(tables, booking.event_id).facilitator_id}

    def _is_about(self, row: OutboxRow, user_id: UserId) -> bool:
        tables = self._store.tables
        keys = {f"booking:{each.id}" for each in tables.of("bookings").values() if each.user_id == user_id}
        for each in appointments_in(tables):
            if user_id in {each.client_id, each.coach_id}:
                keys |= {f"coaching:{each.id}{part}" for part in ("", ":client", ":coach")}
        return row.ordering_key in keys or row.payload.get("person", {}).get("id") == user_id


class MemoryStoredMails:
    """`texts`: those of the mails."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    async def delete_about(self, identifiers: Identifiers) -> int:
        kept = [text for text in self.texts if not identifiers.occur_in(text)]
        deleted, self.texts = len(self.texts) - len(kept), kept
        return deleted
