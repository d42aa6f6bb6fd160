"""Mails to addresses that are not verified, in memory."""

from datetime import datetime, timedelta
from uuid import UUID

from application.notifications.ports import AddressOwner, SessionRef
from application.ports import Clock
from domain.appointments import Appointment
from domain.bookings import Booking, BookingStatus
from domain.ids import BookingRef
from domain.invitations import Invitation, InvitationStatus
from domain.outbox import MessageId
from domain.time import Interval
from domain.unverified_mail import BookedSession
from tests.support.memory.claims import release_held
from tests.support.memory.rows import event_in
from tests.support.memory.store import Store


class MemoryUnverifiedAddresses:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def find(self, address: str) -> AddressOwner:
        tables = self._store.tables
        for user in tables.of("users").values():
            if user.email == address:
                return AddressOwner(user.id in tables.of("limited_accounts") and not user.is_verified, user.id)
        return AddressOwner(is_limited=True, user_id=None)

    async def count(self, address: str, message_id: MessageId, *, at_most: int, per: timedelta) -> bool:
        counted: dict[MessageId, datetime] = self._store.tables.of("unverified_mails").setdefault(address, {})
        since = self._clock.now() - per
        if message_id not in counted and sum(at > since for at in counted.values()) >= at_most:
            return False
        counted.setdefault(message_id, self._clock.now())
        return True


class MemoryHeldMessages:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def release(self, *, limit: int) -> int:
        tables = self._store.tables
        limited = tables.of("limited_accounts")
        free = {user.email for user in tables.of("users").values() if user.is_verified or user.id not in limited}
        return release_held(tables, free, self._clock.now(), limit=limit)


class MemoryBookedSessions:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, about: SessionRef) -> BookedSession | None:
        tables = self._store.tables
        if isinstance(about, UUID):
            invitation: Invitation | None = tables.of("invitations").get(about)
            if invitation is None:
                return None
            times = event_in(tables, invitation.event_id).details.interval
            return _session(times, is_live=invitation.status is InvitationStatus.PENDING)
        if isinstance(about, BookingRef):
            booking: Booking | None = tables.of("bookings").get(about.id)
            if booking is None:
                return None
            times = event_in(tables, booking.event_id).details.interval
            is_live = booking.status is BookingStatus.CONFIRMED
            return _session(times, is_live=is_live, payment_status=booking.payment_status)
        found: Appointment | None = tables.of("appointments").get(about.id)
        if found is None:
            return None
        return _session(found.session, is_live=found.is_live, payment_status=found.payment_status)


def _session(times: Interval, *, is_live: bool, payment_status: str | None = None) -> BookedSession:
    return BookedSession(times.starts_at, times.ends_at, is_live, payment_status)
