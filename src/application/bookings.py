"""Bookings: taking a place, giving it back."""

from collections.abc import Callable
from dataclasses import dataclass

from application.ports.messaging import WakeUps
from application.ports.payments import PaymentGateway, PaymentRequest
from application.ports.persistence import OpenUnitOfWork, PlacedBooking, Places
from application.ports.readers import BookingReader, BookingView
from application.ports.system import Clock
from domain.bookings import MAX_NOTES, BookingId, BookingNotFound, NotYourBooking
from domain.events import EventFull, EventId, EventNotFound
from domain.messages import Fact
from domain.money import Money
from domain.texts import prose
from domain.users import User, UserId

# A place can come free between the refusal and the look at why; then it is worth asking again, but not for ever.
LOOKS = 3


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
    """

    places: Places
    gateway: PaymentGateway
    wake_ups: WakeUps
    clock: Clock
    request_id: Callable[[], str | None]

    async def __call__(self, user_id: UserId, event_id: EventId, notes: str | None) -> NewBooking:
        notes = prose("notes", notes, at_most=MAX_NOTES) if notes is not None else None
        placed = await self._take(user_id, event_id, notes)
        self.wake_ups.nudge()
        return NewBooking(placed, await self._ask_for_payment(placed))

    async def _take(self, user_id: UserId, event_id: EventId, notes: str | None) -> PlacedBooking:
        for _ in range(LOOKS):
            now = self.clock.now()
            placed = await self.places.take(
                event_id=event_id, user_id=user_id, notes=notes, now=now, request_id=self.request_id()
            )
            if placed is not None:
                return placed
            found = await self.places.find_event(event_id, user_id)
            if found is None:
                raise EventNotFound
            event, already_booked = found
            event.refuse_booking(now, already_booked=already_booked)
        raise EventFull

    async def _ask_for_payment(self, placed: PlacedBooking) -> str | None:
        if placed.payment_id is None:
            return None
        url = await self.gateway.checkout(
            PaymentRequest(
                payment_id=placed.payment_id,
                booking_id=placed.id,
                price=Money(placed.price, placed.currency),
                title=placed.event_title,
            )
        )
        if url is not None:
            await self.places.keep_checkout(placed.payment_id, url)
        return url


@dataclass(frozen=True, slots=True)
class CancelBooking:
    """Cancels a booking before its event begins; the place is free for the next person at once."""

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, booking_id: BookingId) -> None:
        async with self.open_work() as work:
            event_id = await work.bookings.find_event_id(booking_id)
            if event_id is None:
                raise BookingNotFound
            event = await work.events.get_even_hidden(event_id)
            booking = await work.bookings.get(booking_id)
            booking.require_owner(user)
            cancelled = booking.cancelled(self.clock.now(), event_starts_at=event.plan.interval.starts_at)
            await work.bookings.save(cancelled)
            await work.bookings.free_place(event_id)
            await work.messages.owe_for_booking(Fact.BOOKING_CANCELLED, booking_id)
            await work.commit()
        self.wake_ups.nudge()


@dataclass(frozen=True, slots=True)
class ShowBooking:
    """One booking, for the person whose it is, the facilitator of its event, and admins."""

    reader: BookingReader

    async def __call__(self, user: User, booking_id: BookingId) -> BookingView:
        booking = await self.reader.get(booking_id)
        if user.role != "admin" and user.id not in (booking.user_id, booking.event.facilitator_id):
            raise NotYourBooking
        return booking
