"""Bookings, seats and invitations in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from application.bookings.ports import ReservedBooking
from application.idempotency import CLAIM, IdempotencyKeyInUse
from domain.accounts import UserId
from domain.audit import AuditTrail
from domain.audit_effects import record_booking
from domain.booking_effects import EFFECTS, SeatEffect
from domain.bookings import Booking, BookingChange, BookingNotFound, BookingStatus, CancelReason
from domain.events import AlreadyBooked, Event, EventId, EventStatus
from domain.ids import BookingId, BookingRef
from domain.invitations import Invitation, InvitationId, InvitationNotFound, InvitationStatus
from domain.money import Money
from domain.outbox import MessageType
from domain.payments import UNPAID, PaymentStatus, hold_end, status_at_booking
from infrastructure.postgres.bookings.seat_queues import NotInBatch, SeatAnswer, SeatRequest
from infrastructure.postgres.domain_events import WrittenEvents
from tests.support.memory.idempotency import commit_under_key, is_held, request_under
from tests.support.memory.outbox import MemoryMessages
from tests.support.memory.payments import add_payment
from tests.support.memory.reminders import MemoryReminders
from tests.support.memory.rows import (
    ConstraintViolated,
    booking_in,
    bookings_in,
    bookings_of,
    event_in,
    user_in,
)
from tests.support.memory.store import SettableClock, Store, Tables, Transaction
from tests.support.memory.unpaid_holds import unpaid_holds

_SEATS = {SeatEffect.RELEASE: -1, SeatEffect.OCCUPY: 1, SeatEffect.COUNT_CHANGE: 0}


def change_seats(transaction: Transaction, event_id: EventId, seats: int) -> None:
    """Each change increments the event's version, the SEQUENCE of its calendar entries."""
    event = event_in(transaction.tables, event_id)
    save_event_row(transaction, replace(event, booked=event.booked + seats, version=event.version + 1))


def save_event_row(transaction: Transaction, event: Event) -> None:
    if not 0 <= event.booked <= event.details.capacity:
        raise ConstraintViolated("never_oversold")
    transaction.tables.of("events")[event.id] = replace(event, events=())


def has_live_booking(tables: Tables, event_id: EventId, user_id: UserId) -> bool:
    own = (booking for booking in bookings_of(tables, event_id) if booking.user_id == user_id)
    return any(booking.status is not BookingStatus.CANCELLED for booking in own)


def with_active_facilitator(tables: Tables, event: Event) -> Event:
    """The event as it is read: its row and the facilitator's account have to be active."""
    return replace(
        event, facilitator_active=event.facilitator_active and user_in(tables, event.facilitator_id).is_active
    )


def _add_booking(
    transaction: Transaction,
    event: Event,
    user_id: UserId,
    now: datetime,
    price: Money,
    *,
    notes: str | None = None,
    hold_until: datetime | None = None,
) -> Booking:
    user_in(transaction.tables, user_id)
    booking_id = BookingId(transaction.store.next_id("bookings"))
    booking = Booking(
        id=booking_id,
        reference=f"BK{now.year}{booking_id:06}",
        event_id=event.id,
        user_id=user_id,
        status=BookingStatus.CONFIRMED,
        payment_status=status_at_booking(price),
        notes=notes,
        created_at=now,
        cancelled_at=None,
        price=price,
        refund_policy=event.details.refund_policy,
        schedule_revision=event.schedule_revision,
        hold_until=hold_until,
    )
    _save_row(transaction, booking)
    return booking


def _save_row(transaction: Transaction, booking: Booking) -> None:
    """Raises `AlreadyBooked` for a second live booking of an event by one person."""
    for other in bookings_of(transaction.tables, booking.event_id):
        both_live = BookingStatus.CANCELLED not in {other.status, booking.status}
        if both_live and other.user_id == booking.user_id and other.id != booking.id:
            raise AlreadyBooked
    if (booking.status is BookingStatus.CANCELLED) != (booking.cancelled_at is not None):
        raise ConstraintViolated("cancelled_at")
    transaction.tables.of("bookings")[booking.id] = replace(booking, events=())


class MemoryBookings:
    """Each save also writes the effects of the booking's domain events."""

    def __init__(
        self, transaction: Transaction, messages: MemoryMessages, reminders: MemoryReminders, audit: AuditTrail
    ) -> None:
        self._transaction = transaction
        self._audit = audit
        self._messages = messages
        self._reminders = reminders
        self._written = WrittenEvents()

    async def find_event_id(self, booking_id: BookingId) -> EventId | None:
        booking = self._transaction.tables.of("bookings").get(booking_id)
        return None if booking is None else booking.event_id

    async def get(self, booking_id: BookingId) -> Booking:
        if booking_id not in self._transaction.tables.of("bookings"):
            raise BookingNotFound
        return booking_in(self._transaction.tables, booking_id)

    async def save(self, booking: Booking) -> None:
        events = self._written.take(booking)
        stored = booking_in(self._transaction.tables, booking.id)
        changed = replace(
            stored,
            status=booking.status,
            payment_status=booking.payment_status,
            cancelled_at=booking.cancelled_at,
            cancel_reason=booking.cancel_reason,
            cancelled_by=booking.cancelled_by,
            hold_until=booking.hold_until,
            dispute=booking.dispute,
        )
        _save_row(self._transaction, changed)
        for event in events:
            record_booking(self._audit, event)
            reason = event.after.cancel_reason if event.change is BookingChange.CANCELLED else None
            if reason is CancelReason.BY_PERSON:
                reason = None
            await self._write_effects(event.change, [booking.id], booking.event_id, reason=reason, money=event.money)

    async def _write_effects(
        self,
        change: BookingChange,
        bookings: Sequence[BookingId],
        event_id: EventId | None = None,
        *,
        reason: str | None = None,
        money: Money | None = None,
    ) -> None:
        effects = EFFECTS[change]
        if effects.seat is not None and event_id is not None:
            change_seats(self._transaction, event_id, _SEATS[effects.seat])
        if effects.reminders:
            await self._reminders.align_bookings(bookings)
        if effects.message is not None:
            await self._messages.enqueue_for_bookings(effects.message, bookings, reason=reason, money=money)

    async def has_live_booking(self, event_id: EventId, user_id: UserId) -> bool:
        return has_live_booking(self._transaction.tables, event_id, user_id)

    async def add_invited(self, event_id: EventId, user_id: UserId, now: datetime) -> BookingId:
        event = event_in(self._transaction.tables, event_id)
        price = event.details.price
        booking = _add_booking(self._transaction, event, user_id, now, Money(price.amount * 0, price.currency))
        await self._write_effects(BookingChange.INVITED, [booking.id], event_id)
        return booking.id

    async def end_holds(self, facilitator_id: UserId, now: datetime) -> None:
        for booking in bookings_in(self._transaction.tables):
            held = booking.hold_until is not None and booking.hold_until > now
            unpaid = booking.status is BookingStatus.CONFIRMED and booking.payment_status in UNPAID
            event = event_in(self._transaction.tables, booking.event_id)
            if held and unpaid and event.facilitator_id == facilitator_id:
                _save_row(self._transaction, replace(booking, hold_until=now))

    async def shorten_holds(self, event_id: EventId, starts_at: datetime) -> None:
        for booking in bookings_of(self._transaction.tables, event_id):
            held = booking.hold_until is not None and booking.hold_until > starts_at
            if held and booking.status is BookingStatus.CONFIRMED:
                _save_row(self._transaction, replace(booking, hold_until=starts_at))

    async def change_with_events(
        self,
        events: Sequence[EventId],
        change: BookingChange,
        now: datetime,
        *,
        by: UserId | None = None,
        refunded: Sequence[BookingId] = (),
    ) -> None:
        """Changes every confirmed booking with its event, and writes the effects."""
        changed = []
        for booking in bookings_in(self._transaction.tables):
            if booking.event_id not in events or booking.status is not BookingStatus.CONFIRMED:
                continue
            if change is BookingChange.EVENT_CANCELLED:
                after = replace(
                    booking,
                    status=BookingStatus.CANCELLED,
                    cancelled_at=now,
                    cancel_reason=CancelReason.EVENT_CANCELLED,
                    cancelled_by=by,
                    hold_until=None,
                    payment_status=PaymentStatus.REFUNDED if booking.id in refunded else booking.payment_status,
                )
            else:
                after = replace(booking, status=BookingStatus.COMPLETED)
            _save_row(self._transaction, after)
            changed.append(booking.id)
        reason = CancelReason.EVENT_CANCELLED if change is BookingChange.EVENT_CANCELLED else None
        await self._write_effects(BookingChange.REFUNDED, refunded)
        await self._write_effects(change, changed, reason=reason)


class MemorySeatInventory:
    """`gateway`: the name of the gateway of new payments."""

    def __init__(
        self, store: Store, clock: SettableClock, *, gateway: str, reminder_offsets: Sequence[timedelta] = ()
    ) -> None:
        self._store = store
        self._clock = clock
        self._gateway = gateway
        self._offsets = reminder_offsets

    async def reserve(
        self,
        *,
        event_id: EventId,
        user_id: UserId,
        notes: str | None,
        now: datetime,
        hold_for: timedelta | None,
        request_id: str | None,
        unpaid_at_most: int | None = None,
    ) -> ReservedBooking | None:
        claim = CLAIM.get()
        if claim is not None and claim.made is not None:
            return msgspec.json.decode(claim.made, type=ReservedBooking)
        request = SeatRequest(user_id, notes, now, hold_for, request_id, unpaid_at_most, claim)
        async with self._store.transaction() as transaction:
            if not is_held(transaction.tables, claim):
                raise IdempotencyKeyInUse
            reserved = await self._reserved(transaction, event_id, request)
            transaction.commit()
        return reserved

    async def reserve_together(self, event_id: EventId, requests: Sequence[SeatRequest]) -> Sequence[SeatAnswer]:
        answers: list[SeatAnswer] = []
        async with self._store.transaction() as transaction:
            for request in requests:
                if not is_held(transaction.tables, request.claim):
                    answers.append(NotInBatch.ALONE)
                else:
                    answers.append(await self._reserved(transaction, event_id, request))
            transaction.commit()
        return answers

    async def _reserved(
        self, transaction: Transaction, event_id: EventId, request: SeatRequest
    ) -> ReservedBooking | None:
        user_id, now, hold_for = request.user_id, request.now, request.hold_for
        event = self._free(transaction.tables, event_id, user_id, now)
        if event is None:
            return None
        price, starts_at = event.details.price, event.details.interval.starts_at
        limit = request.unpaid_at_most
        if limit is not None and not price.is_zero and unpaid_holds(transaction.tables, user_id) >= limit:
            return None
        held = hold_for is not None and not price.is_zero
        hold_until = hold_end(now, hold_for or timedelta(0), starts_at=starts_at) if held else None
        change_seats(transaction, event_id, 1)
        booking = _add_booking(transaction, event, user_id, now, price, notes=request.notes, hold_until=hold_until)
        payment = None
        if not price.is_zero:
            payment = add_payment(transaction, BookingRef(booking.id), self._gateway, price, now)
        messages = MemoryMessages(transaction, self._clock)
        await messages.enqueue_for_bookings(MessageType.BOOKING_CREATED, [booking.id])
        await MemoryReminders(transaction, self._clock, self._offsets).align_bookings([booking.id])
        user = user_in(transaction.tables, user_id)
        reserved = ReservedBooking(
            id=booking.id,
            reference=booking.reference,
            payment_status=booking.payment_status,
            payment_id=payment.id if payment else None,
            notes=request.notes,
            created_at=now,
            user_id=user_id,
            user_name=user.name,
            user_email=user.email,
            event_id=event_id,
            event_title=event.details.title,
            facilitator_id=event.facilitator_id,
            price=price.amount,
            currency=price.currency,
            hold_until=hold_until,
        )
        with request_under(request.claim):
            commit_under_key(transaction.tables, msgspec.to_builtins(reserved))
        return reserved

    def _free(self, tables: Tables, event_id: EventId, user_id: UserId, now: datetime) -> Event | None:
        """The event, if this person can reserve a seat; the same conditions as `seats.GUARD`."""
        found = tables.of("events").get(event_id)
        if found is None or found.deleted_at is not None:
            return None
        event = with_active_facilitator(tables, found)
        is_open = event.status is EventStatus.ACTIVE and event.details.interval.starts_at > now
        has_seat = event.booked < event.details.capacity and event.facilitator_active
        return event if is_open and has_seat and not has_live_booking(tables, event_id, user_id) else None

    async def find_event(self, event_id: EventId, user_id: UserId) -> tuple[Event, bool] | None:
        tables = self._store.tables
        event = tables.of("events").get(event_id)
        if event is None or event.deleted_at is not None:
            return None
        return with_active_facilitator(tables, event), has_live_booking(tables, event_id, user_id)

    async def count_unpaid_holds(self, user_id: UserId) -> int:
        return unpaid_holds(self._store.tables, user_id)


class MemoryInvitations:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def _rows(self) -> list[Invitation]:
        return list(self._transaction.tables.of("invitations").values())

    async def add(
        self, event_id: EventId, *, name: str, email: str, by: UserId, now: datetime, expires_at: datetime
    ) -> Invitation:
        if await self.has_pending(event_id, email):
            raise ConstraintViolated("uq_invitations_one_pending")
        invitation = Invitation(
            id=InvitationId(UUID(int=self._transaction.store.next_id("invitations"))),
            event_id=event_id,
            name=name,
            email=email,
            invited_by=by,
            created_at=now,
            expires_at=expires_at,
        )
        self._transaction.tables.of("invitations")[invitation.id] = invitation
        return invitation

    async def find_event_id(self, invitation_id: InvitationId) -> EventId:
        return (await self.get(invitation_id)).event_id

    async def get(self, invitation_id: InvitationId) -> Invitation:
        invitation: Invitation | None = self._transaction.tables.of("invitations").get(invitation_id)
        if invitation is None:
            raise InvitationNotFound
        return invitation

    async def has_pending(self, event_id: EventId, email: str) -> bool:
        return any(
            (each.event_id, each.email, each.status) == (event_id, email, InvitationStatus.PENDING)
            for each in self._rows()
        )

    async def has_booking(self, event_id: EventId, email: str) -> bool:
        tables = self._transaction.tables
        return any(
            booking.status is not BookingStatus.CANCELLED and user_in(tables, booking.user_id).email == email
            for booking in bookings_of(tables, event_id)
        )

    async def save(self, invitation: Invitation) -> None:
        stored = await self.get(invitation.id)
        self._transaction.tables.of("invitations")[invitation.id] = replace(
            stored,
            status=invitation.status,
            answered_at=invitation.answered_at,
            booking_id=invitation.booking_id,
        )

    async def withdraw_of_event(self, event_id: EventId, now: datetime) -> None:
        for each in self._rows():
            if each.event_id == event_id and each.status is InvitationStatus.PENDING:
                await self.save(each.withdrawn(now))

    async def find_expired(self, now: datetime, *, limit: int) -> Sequence[InvitationId]:
        tables = self._transaction.tables

        def end(invitation: Invitation) -> datetime:
            return min(invitation.expires_at, event_in(tables, invitation.event_id).details.interval.starts_at)

        due = [each for each in self._rows() if each.status is InvitationStatus.PENDING and end(each) <= now]
        return [each.id for each in sorted(due, key=lambda each: each.expires_at)][:limit]
