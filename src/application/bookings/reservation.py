"""Reservation of seats."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from application.bookings.ports import ReservedBooking, SeatInventory
from application.outbox.ports import WakeUps
from application.payments.checkout import OpenCheckout
from application.payments.ports.gateways import PaymentGateway
from application.ports import Clock
from application.use_cases import use_case
from domain.accounts import User, UserId
from domain.bookings import MAX_NOTES
from domain.errors import Errors
from domain.events import AlreadyBooked, EventCancelled, EventFull, EventId, EventNotFound, EventStarted
from domain.ids import BookingRef
from domain.text import text_with_lines
from domain.unpaid_holds import DEFAULT_LIMITS, HoldLimits, TooManyUnpaidHolds
from domain.unverified_mail import AddressNotVerified, EmailVerification

# A seat can become free between the refusal and the query for its reason. Then the reservation is tried again, this
# often.
LOOKS = 3


@dataclass(frozen=True, slots=True)
class NewBooking:
    reserved: ReservedBooking
    payment_url: str | None


@use_case
class BookSeat:
    """Books a seat in an event.

    - The event's capacity is never exceeded, also with concurrent requests.
    - A person has at most one live booking of an event.
    - Events that are cancelled or have started cannot be booked.
    - The operator may require that the person's e-mail address is verified.
    - The booking, its payment and its messages to the CRM and by e-mail are written in one transaction.
    - A free seat needs no payment. For any other the response has the payment link, unless payments are made on site.
    - The number of unpaid bookings of a person is limited. Paying or cancelling one allows another.
    - A seat that is paid at a gateway is held for a limited time, at most until the start of the event. While the
      gateway is unavailable the seat is reserved without a link.
    - Price, currency and refund policy are stored with the booking and apply to it from then on.
    """

    raises: ClassVar[Errors] = (
        EventNotFound,
        EventFull,
        EventCancelled,
        EventStarted,
        AlreadyBooked,
        TooManyUnpaidHolds,
        AddressNotVerified,
    )

    seats: SeatInventory
    open_checkout: OpenCheckout
    gateway: PaymentGateway
    hold_for: timedelta
    wake_ups: WakeUps
    clock: Clock
    request_id: Callable[[], str | None]
    hold_limits: HoldLimits = DEFAULT_LIMITS
    verification: EmailVerification = EmailVerification.LIMITED

    async def __call__(
        self, user: User, event_id: EventId, notes: str | None, *, return_url: str | None = None
    ) -> NewBooking:
        """`return_url`: the allowed address that the buyer is redirected to after the checkout."""
        self.verification.require_to_book(user)
        self.open_checkout.return_urls.require_allowed(return_url)
        notes = text_with_lines("notes", notes, at_most=MAX_NOTES) if notes is not None else None
        reserved = await self._reserve(user.id, event_id, notes)
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
