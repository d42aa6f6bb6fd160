"""Reservation of seats."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from application.bookings.ports import ReservedBooking, SeatInventory
from application.outbox.ports import WakeUps
from application.payments.checkout import OpenCheckout
from application.payments.ports.gateways import PaymentGateway
from application.ports import Clock
from domain.accounts import UserId
from domain.bookings import MAX_NOTES
from domain.events import EventFull, EventId, EventNotFound
from domain.ids import BookingRef
from domain.text import prose
from domain.unpaid_holds import DEFAULT_LIMITS, HoldLimits

# A place can come free between the refusal and the look at why; then it is worth asking again, but not for ever.
LOOKS = 3


@dataclass(frozen=True, slots=True)
class NewBooking:
    reserved: ReservedBooking
    payment_url: str | None


@dataclass(frozen=True, slots=True)
class BookSeat:
    """Books a place in an event.

    - There is never one place more than the event has, however many ask at once.
    - One person has one live booking of an event.
    - Events that were cancelled or have begun cannot be booked.
    - The booking, its payment and its messages to the CRM and by e-mail are written together or not at all.
    - A free place needs no payment; for any other the answer says where to pay, unless that happens elsewhere.
    - One person holds only so many unpaid bookings at a time; paying or cancelling one makes room for another.
    - A place that is to be paid at a gateway is held for a time, but never beyond the start of the event; a gateway
      that is away costs the link, not the place.
    - Price, currency and refund policy are stored with the booking, and used from then on.
    """

    seats: SeatInventory
    open_checkout: OpenCheckout
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
        self.open_checkout.return_urls.require_allowed(return_url)
        notes = prose("notes", notes, at_most=MAX_NOTES) if notes is not None else None
        reserved = await self._reserve(user_id, event_id, notes)
        self.wake_ups.notify()
        return NewBooking(reserved, await self._payment_url(reserved, return_url))

    async def _reserve(self, user_id: UserId, event_id: EventId, notes: str | None) -> ReservedBooking:
        for _ in range(LOOKS):
            now = self.clock.now()
            reserved = await self.seats.reserve(
                event_id=event_id,
                user_id=user_id,
                notes=notes,
                now=now,
                hold_for=self.hold_for if self.gateway.holds_seats else None,
                request_id=self.request_id(),
                unpaid_at_most=self.hold_limits.per_account if self.gateway.holds_seats else None,
            )
            if reserved is not None:
                return reserved
            found = await self.seats.find_event(event_id, user_id)
            if found is None:
                raise EventNotFound
            event, already_booked = found
            event.refuse_booking(now, already_booked=already_booked)
            if self.gateway.holds_seats and not event.details.price.is_zero:
                self.hold_limits.require_another(await self.seats.count_unpaid_holds(user_id))
        raise EventFull

    async def _payment_url(self, reserved: ReservedBooking, return_url: str | None) -> str | None:
        if reserved.payment_id is None:
            return None
        payable = BookingRef(reserved.id)
        return (await self.open_checkout.for_new([payable], return_url=return_url)).get(payable)
