"""Calendar feeds in memory. Entries have the UIDs of a deployment with a stored domain."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from domain.accounts import User, UserId
from domain.appointments import AppointmentStatus
from domain.bookings import BookingStatus
from domain.calendar_feed import EntryKind, FeedEntry, FeedRange
from domain.events import EventStatus
from domain.ids import BookingRef
from domain.payments import UNPAID
from tests.support.memory.rows import appointments_in, bookings_in, event_in, events_in, payments_of, user_in
from tests.support.memory.store import Store, Tables


class MemoryFeeds:
    """Rows: the fingerprint of an account's address."""

    def __init__(self, store: Store, *, uid_domain: str | None = "convene.example") -> None:
        self._store = store
        self._uid_domain = uid_domain

    async def open(self, user_id: UserId, token_version: int, fingerprint: bytes, now: datetime) -> bool:
        user = user_in(self._store.tables, user_id)
        if user.token_version != token_version or not user.is_active:
            return False
        self._fingerprints[user_id] = fingerprint
        return True

    async def close(self, user_id: UserId) -> None:
        self._fingerprints.pop(user_id, None)

    async def find(self, fingerprint: bytes) -> UserId | None:
        for user_id, kept in self._fingerprints.items():
            if kept == fingerprint and user_in(self._store.tables, user_id).is_active:
                return user_id
        return None

    async def entries(self, user_id: UserId, wanted: FeedRange) -> Sequence[FeedEntry]:
        user = user_in(self._store.tables, user_id)
        entries = [entry for entry in self._all(user) if entry.ends_at > wanted.since]

        def priority(entry: FeedEntry) -> tuple[object, ...]:
            return entry.ends_at <= wanted.now, abs(entry.ends_at - wanted.now), *_order(entry)

        return sorted(sorted(entries, key=priority)[: wanted.limit], key=_order)

    async def digest(self, user_id: UserId, wanted: FeedRange) -> str:
        return hashlib.sha256(repr(await self.entries(user_id, wanted)).encode()).hexdigest()

    @property
    def _fingerprints(self) -> dict[UserId, bytes]:
        return self._store.tables.of("calendar_feeds")

    def _all(self, user: User) -> Iterator[FeedEntry]:
        tables = self._store.tables
        yield from self._places(tables, user)
        yield from self._events(tables, user)
        yield from self._sessions(tables, user)

    def _places(self, tables: Tables, user: User) -> Iterator[FeedEntry]:
        for booking in bookings_in(tables):
            if booking.user_id != user.id or booking.status is BookingStatus.CANCELLED:
                continue
            event = event_in(tables, booking.event_id)
            received = [row.received_at for row in payments_of(tables, BookingRef(booking.id))]
            changed = [event.updated_at, booking.created_at, *received]
            is_unpaid = booking.payment_status in UNPAID
            yield FeedEntry(
                kind=EntryKind.PLACE,
                id=str(booking.id),
                title=event.details.title,
                text=event.details.description,
                reference=f"Booking {booking.reference}, with {user_in(tables, event.facilitator_id).name}",
                starts_at=event.details.interval.starts_at,
                ends_at=event.details.interval.ends_at,
                location=event.details.location,
                link=None if is_unpaid else event.details.virtual_link,
                is_tentative=is_unpaid and booking.hold_until is not None,
                sequence=event.version,
                written_at=max(moment for moment in changed if moment is not None),
                uid=self._uid(f"booking-{booking.id}"),
            )

    def _events(self, tables: Tables, user: User) -> Iterator[FeedEntry]:
        for event in events_in(tables):
            is_shown = event.status is EventStatus.ACTIVE and event.deleted_at is None
            if event.facilitator_id != user.id or not is_shown:
                continue
            yield FeedEntry(
                kind=EntryKind.EVENT,
                id=str(event.id),
                title=event.details.title,
                text=event.details.description,
                reference="Your event",
                starts_at=event.details.interval.starts_at,
                ends_at=event.details.interval.ends_at,
                location=event.details.location,
                link=event.details.virtual_link,
                is_tentative=False,
                sequence=event.version,
                written_at=event.updated_at or event.created_at,
                uid=self._uid(f"event-{event.id}"),
            )

    def _sessions(self, tables: Tables, user: User) -> Iterator[FeedEntry]:
        for session in appointments_in(tables):
            people = {session.client_id, session.coach_id}
            if user.id not in people or session.status is AppointmentStatus.CANCELLED:
                continue
            other = session.client_id if session.coach_id == user.id else session.coach_id
            yield FeedEntry(
                kind=EntryKind.SESSION,
                id=str(session.id),
                title=f"Coaching with {user_in(tables, other).name}",
                text=session.notes,
                reference=f"Booking {session.id}",
                starts_at=session.session.starts_at,
                ends_at=session.session.ends_at,
                location=None,
                link=session.meeting_link,
                is_tentative=session.status is AppointmentStatus.PENDING,
                sequence=session.sequence,
                written_at=session.updated_at,
                uid=self._uid(f"coaching-{session.id}"),
            )

    def _uid(self, name: str) -> str | None:
        return None if self._uid_domain is None else f"{name}@{self._uid_domain}"


def _order(entry: FeedEntry) -> tuple[datetime, str, str]:
    return entry.starts_at, entry.kind, entry.id
