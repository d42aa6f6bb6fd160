"""Bookings: taking a place, giving it back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from application.holds import AskForPayment
from application.ports.idempotency import made_before
from application.ports.ledger import Refund
from application.ports.messaging import WakeUps
from application.ports.payments import GatewayRefused, PaymentGateway, PaymentRequest
from application.ports.persistence import OpenUnitOfWork, PlacedBooking, Places, UnitOfWork
from application.ports.readers import BookingReader, BookingView
from application.ports.system import Clock
from application.purchases import lock_booking
from application.refunds import Refunds, cancellation_terms
from domain.bookings import MAX_NOTES, Booking, BookingId, BookingStatus, CancelReason, NotYourBooking
from domain.errors import Unavailable
from domain.events import EventFull, EventId, EventNotFound
from domain.holds import DEFAULT_LIMITS, HoldLimits
from domain.messages import Fact
from domain.money import Money
from domain.payments import UNPAID, Payment
from domain.refunds import RefundId
from domain.texts import prose
from domain.users import User, UserId

# A place can come free between the refusal and the look at why; then it is worth asking again, but not for ever.
LOOKS = 3
EVENTS_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class NewBooking:
    placed: PlacedBooking
    payment_url: str | None


@dataclass(frozen=True, slots=True)
class BookPlace:
    """Books a place in an event.

    - There is never one place more than the event has, however many ask at once.
    - One person has one live booking of an event.
    - Events that were cancelled or have begun cannot be booked.
    - The booking, its payment and what it owes to the CRM and by mail are written together or not at all.
    - A free place needs no payment; for any other the answer says where to pay, unless that happens elsewhere.
    - One person holds only so many unpaid bookings at a time; paying or cancelling one makes room for another.
    - A place that is to be paid at a gateway is held for a time, but never beyond the start of the event; a gateway
      that is away costs the link, not the place.
    - Price, currency and refund policy are stored with the booking, and used from then on.
    """

    places: Places
    ask_for_payment: AskForPayment
    gateway: PaymentGateway
    hold_for: timedelta
    wake_ups: WakeUps
    clock: Clock
    request_id: Callable[[], str | None]
    hold_limits: HoldLimits = DEFAULT_LIMITS

    async def __call__(
        self, user_id: UserId, event_id: EventId, notes: str | None, *, return_url: str | None = None
    ) -> NewBooking:
        """`return_url`: where the buyer goes after the checkout, an allowed address."""
        self.ask_for_payment.return_urls.require_allowed(return_url)
        notes = prose("notes", notes, at_most=MAX_NOTES) if notes is not None else None
        placed = await self._take(user_id, event_id, notes)
        self.wake_ups.nudge()
        return NewBooking(placed, await self._payment_url(placed, return_url))

    async def _take(self, user_id: UserId, event_id: EventId, notes: str | None) -> PlacedBooking:
        for _ in range(LOOKS):
            now = self.clock.now()
            placed = await self.places.take(
                event_id=event_id,
                user_id=user_id,
                notes=notes,
                now=now,
                hold_for=self.hold_for if self.gateway.holds_places else None,
                request_id=self.request_id(),
                unpaid_at_most=self.hold_limits.per_account if self.gateway.holds_places else None,
            )
            if placed is not None:
                return placed
            found = await self.places.find_event(event_id, user_id)
            if found is None:
                raise EventNotFound
            event, already_booked = found
            event.refuse_booking(now, already_booked=already_booked)
            if self.gateway.holds_places and not event.plan.price.is_zero:
                self.hold_limits.require_another(await self.places.count_unpaid_holds(user_id))
        raise EventFull

    async def _payment_url(self, placed: PlacedBooking, return_url: str | None) -> str | None:
        if placed.payment_id is None:
            return None
        request = PaymentRequest(
            payment_id=placed.payment_id,
            booking_id=placed.id,
            reference=placed.reference,
            event_id=placed.event_id,
            user_id=placed.user_id,
            user_name=placed.user_name,
            user_email=placed.user_email,
            facilitator_id=placed.facilitator_id,
            price=Money(placed.price, placed.currency),
            title=placed.event_title,
            until=placed.hold_until,
        )
        try:
            await self.ask_for_payment.keep_return_url([placed.id], return_url)
            return await self.ask_for_payment(request, self.gateway.name)
        except (Unavailable, GatewayRefused):
            return None


@dataclass(frozen=True, slots=True)
class CancelBooking:
    """Cancels a booking before its event begins; the place is free for the next person at once.

    - What was paid is given back by the refund policy that was agreed when booking. After a change of time or place it
      is given back in full.
    - An admin who cancels the booking of another person cancels for the organiser: everything is given back.
    - A checkout that is still open is closed, so that nobody pays for a place they gave back.
    """

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, booking_id: BookingId) -> Refund | None:
        """What is given back; None where nothing is."""
        if (made := made_before()) is not None:
            return await _refund_made(self.open_work, made)
        now = self.clock.now()
        async with self.open_work() as work:
            event, booking = await lock_booking(work, booking_id)
            booking.require_owner(user)
            cancelled = booking.cancelled(now, event_starts_at=event.plan.interval.starts_at, by=user.id)
            payment = await work.payments.find_of_booking(booking_id)
            back = cancellation_terms(event, booking, payment, now, by=user.id).refund
            refund = await cancel_seat(work, self.refunds, cancelled, payment, back, by=user.id)
            await work.commit(made=[str(refund.id)] if refund else [])
        self.wake_ups.nudge()
        return refund


@dataclass(frozen=True, slots=True)
class CancelParticipant:
    """Cancels one participant's booking of the asking facilitator's event, before the event begins. The seat is free
    for the next person at once.

    - Everything that was paid is refunded, also where the refund policy gives less.
    - The participant and the CRM receive the cancellation, and the calendar entry is cancelled.
    - A checkout that is still open is closed.
    """

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, booking_id: BookingId) -> Refund | None:
        """The refund; None where nothing was paid."""
        if (made := made_before()) is not None:
            return await _refund_made(self.open_work, made)
        now = self.clock.now()
        async with self.open_work() as work:
            event, booking = await lock_booking(work, booking_id)
            event.require_manager(user)
            starts_at = event.plan.interval.starts_at
            cancelled = booking.cancelled_by_organiser(now, event_starts_at=starts_at, by=user.id)
            payment = await work.payments.find_of_booking(booking_id)
            back = payment.refundable if payment else Money(Decimal(0), booking.price.currency)
            refund = await cancel_seat(work, self.refunds, cancelled, payment, back, by=user.id)
            await work.commit(made=[str(refund.id)] if refund else [])
        self.wake_ups.nudge()
        return refund


async def cancel_seat(
    work: UnitOfWork, refunds: Refunds, cancelled: Booking, payment: Payment | None, back: Money, *, by: UserId
) -> Refund | None:
    """Stores a cancelled booking, frees its seat, writes the messages and requests the refund of `back`; an open
    checkout is closed. The event is locked."""
    reason = CancelReason.BY_ORGANISER if cancelled.cancel_reason is CancelReason.BY_ORGANISER else None
    refund = None
    await work.bookings.save(cancelled)
    await work.bookings.free_place(cancelled.event_id)
    await work.reminders.align_booking(cancelled.id)
    await work.messages.owe_for_booking(Fact.BOOKING_CANCELLED, cancelled.id, reason=reason)
    if payment is not None and not back.is_zero:
        why = reason or Fact.BOOKING_CANCELLED
        refund = await refunds.promise(work, payment, back, reason=why, by=by)
        await work.bookings.save(cancelled.refunded())
    elif payment is not None and payment.order_id is not None and payment.status in UNPAID:
        await work.messages.owe_checkout_end(payment)
    return refund


async def _refund_made(open_work: OpenUnitOfWork, refunds: Sequence[str]) -> Refund | None:
    async with open_work() as work:
        return await work.refunds.get(RefundId(UUID(refunds[0]))) if refunds else None


@dataclass(frozen=True, slots=True)
class ShowBooking:
    """One booking, for the person whose it is, the facilitator of its event, and admins."""

    reader: BookingReader

    async def __call__(self, user: User, booking_id: BookingId) -> BookingView:
        booking = await self.reader.get(booking_id)
        if user.role != "admin" and user.id not in (booking.user_id, booking.event.facilitator_id):
            raise NotYourBooking
        return booking


@dataclass(frozen=True, slots=True)
class CompleteBookings:
    """Bookings whose event has ended become `completed`, and the CRM hears of it. Held places are paid or given up
    first."""

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """Of how many events."""
        completed = 0
        while True:
            number = await self._some()
            completed += number
            if number < EVENTS_AT_ONCE:
                return completed

    async def _some(self) -> int:
        async with self.open_work() as work:
            events = await work.bookings.complete_ended(self.clock.now(), limit=EVENTS_AT_ONCE)
            for event_id in events:
                await work.messages.owe_for_bookings_of(
                    Fact.BOOKING_COMPLETED, event_id, status=BookingStatus.COMPLETED
                )
            await work.commit()
        if events:
            self.wake_ups.nudge()
        return len(events)
