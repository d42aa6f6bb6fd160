"""What a payment pays for: a place in an event, or a coach's time. Money treats both alike."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.unit_of_work import UnitOfWork
from domain.accounts import User, UserId
from domain.appointments import (
    Change,
    Coaching,
    CoachingCancelReason,
    CoachingId,
    CoachingStatus,
    CoachNotFound,
    OnlyCoachRecords,
)
from domain.availability import SlotUnavailable
from domain.bookings import Booking, BookingId, BookingNotFound, BookingStatus, CancelReason
from domain.errors import Conflict
from domain.events import Event, EventNotFound, EventStatus
from domain.money import Money
from domain.outbox import Fact
from domain.payments import UNPAID, PaymentStatus

PLACE_GONE = "place_gone"
PAID_AFTER_START = "paid_after_start"


class Purchase(Protocol):
    """Locked until the unit of work ends."""

    @property
    def payment_status(self) -> PaymentStatus: ...

    @property
    def is_cancelled(self) -> bool: ...

    @property
    def has_started(self) -> bool:
        """Whether it had started when the money arrived, or is over now."""
        ...

    @property
    def why_given_back(self) -> str:
        """Why money that comes now finds nothing to pay for."""
        ...

    def require_manager(self, user: User) -> None: ...

    async def pay(self, money: Money) -> None: ...

    async def reinstate(self, money: Money) -> bool:
        """It had been given up for want of payment: has it again, paid, if it is still to be had."""
        ...

    async def fail(self, money: Money) -> None:
        """A try to pay failed, while it waits for payment."""
        ...

    async def give_back(self) -> None:
        """Shows that what was paid is given back. What was held for a payment until the start is cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class PlacePurchase:
    work: UnitOfWork
    event: Event
    booking: Booking
    now: datetime
    arrived_at: datetime | None = None
    """When the money arrived; now where it is not given."""

    @property
    def payment_status(self) -> PaymentStatus:
        return self.booking.payment_status

    @property
    def is_cancelled(self) -> bool:
        return self.booking.status is BookingStatus.CANCELLED

    @property
    def has_started(self) -> bool:
        return self.event.has_started(self.arrived_at or self.now) or self.event.is_over(self.now)

    @property
    def why_given_back(self) -> str:
        if self.event.status is EventStatus.CANCELLED:
            return Fact.EVENT_CANCELLED
        if self.booking.cancel_reason in {CancelReason.BY_PERSON, CancelReason.BY_ORGANISER}:
            return Fact.BOOKING_CANCELLED
        return PAID_AFTER_START if self.has_started else PLACE_GONE

    def require_manager(self, user: User) -> None:
        self.event.require_manager(user)

    async def pay(self, money: Money) -> None:
        await self.work.bookings.save(self.booking.paid())
        # The calendar entry becomes firm, and a new STATUS needs a new SEQUENCE (RFC 5546, 2.1.4).
        await self.work.events.count_change(self.event.id)
        await self.work.messages.owe_for_booking(Fact.PAYMENT_COMPLETED, self.booking.id, money=money)

    async def reinstate(self, money: Money) -> bool:
        if not await self._may_have_a_place_again():
            return False
        await self.work.bookings.save(self.booking.reinstated())
        await self.work.bookings.take_place(self.event.id)
        await self.work.reminders.align_booking(self.booking.id)
        await self.work.messages.owe_for_booking(Fact.PAYMENT_COMPLETED, self.booking.id, money=money)
        return True

    async def fail(self, money: Money) -> None:
        if self.booking.status is BookingStatus.CONFIRMED and self.booking.payment_status in UNPAID:
            await self.work.bookings.save(self.booking.unpaid())
            await self.work.messages.owe_for_booking(Fact.PAYMENT_FAILED, self.booking.id, money=money)

    async def give_back(self) -> None:
        booking = self.booking
        if booking.status is BookingStatus.CONFIRMED:
            booking = await expire_hold(self.work, self.event, booking, self.now)
        await self.work.bookings.save(booking.refunded())

    async def _may_have_a_place_again(self) -> bool:
        if self.booking.cancel_reason is not CancelReason.PAYMENT_EXPIRED or self.has_started:
            return False
        already_booked = await self.work.reviews.has_place(self.event.id, self.booking.user_id)
        try:
            self.event.refuse_booking(self.arrived_at or self.now, already_booked=already_booked)
        except (Conflict, EventNotFound):
            return False
        return True


@dataclass(frozen=True, slots=True)
class TimePurchase:
    """`by`: whose word it is that it was paid; None for a gateway's."""

    work: UnitOfWork
    coaching: Coaching
    now: datetime
    by: UserId | None = None
    arrived_at: datetime | None = None
    """When the money arrived; now where it is not given."""

    @property
    def payment_status(self) -> PaymentStatus:
        return self.coaching.payment_status

    @property
    def is_cancelled(self) -> bool:
        return self.coaching.status is CoachingStatus.CANCELLED

    @property
    def has_started(self) -> bool:
        session = self.coaching.session
        return session.starts_at <= (self.arrived_at or self.now) or session.ends_at <= self.now

    @property
    def why_given_back(self) -> str:
        if self.is_cancelled and self.coaching.cancel_reason is not CoachingCancelReason.PAYMENT_EXPIRED:
            return Fact.BOOKING_CANCELLED
        return PAID_AFTER_START if self.has_started else PLACE_GONE

    def require_manager(self, user: User) -> None:
        if not self.coaching.is_run_by(user):
            self.coaching.require_participant(user)
            raise OnlyCoachRecords

    async def pay(self, money: Money) -> None:
        await self._became(self.coaching.paid(self.now), Change.PAID)
        await self._owe(Fact.PAYMENT_COMPLETED, money)

    async def reinstate(self, money: Money) -> bool:
        """The hold is all that had ended: nobody's hours or notice are asked about again, but the time must be free."""
        coaching = self.coaching
        if coaching.cancel_reason is not CoachingCancelReason.PAYMENT_EXPIRED or self.has_started:
            return False
        if not await self._coach_is_there():
            return False
        await self.work.coaches.keep_events_out(coaching.coach_id)
        if await self.work.coaches.busy(coaching.coach_id, coaching.busy):
            return False
        again = coaching.reinstated(self.now)
        try:
            await self.work.coachings.save_time(again)
        except SlotUnavailable:
            return False
        await self.work.coachings.record(again, Change.REINSTATED, by=None, before=coaching, now=self.now)
        await self.work.reminders.align_coaching(coaching.id)
        await self._owe(Fact.PAYMENT_COMPLETED, money)
        return True

    async def fail(self, money: Money) -> None:
        if self.coaching.is_live and self.coaching.payment_status in UNPAID:
            await self._became(self.coaching.unpaid(self.now), Change.PAYMENT_FAILED)
            await self.work.messages.owe_for_coaching(Fact.PAYMENT_FAILED, self.coaching.id, money=money)

    async def give_back(self) -> None:
        before = self.coaching
        if before.is_live:
            before = await expire_coaching_hold(self.work, before, self.now)
        after = before.refunded(self.now)
        await self.work.coachings.save(after)
        await self.work.coachings.record(after, Change.REFUNDED, by=self.by, before=before, now=self.now)

    async def _coach_is_there(self) -> bool:
        """Not asked before it matters: money is taken, too, for the time of somebody who is no coach any more."""
        try:
            coach = await self.work.coaches.get_by_id(self.coaching.coach_id)
        except CoachNotFound:
            return False
        return coach.user.is_active

    async def _became(self, coaching: Coaching, change: Change) -> None:
        await self.work.coachings.save(coaching)
        await self.work.coachings.record(coaching, change, by=self.by, before=self.coaching, now=self.now)

    async def _owe(self, fact: Fact, money: Money) -> None:
        await self.work.messages.owe_for_coaching(fact, self.coaching.id, money=money)
        await self.work.messages.owe_calendars_of(self.coaching.id)


async def lock_purchase(
    work: UnitOfWork,
    booking_id: BookingId | CoachingId,
    now: datetime,
    *,
    by: UserId | None = None,
    arrived_at: datetime | None = None,
) -> Purchase:
    """Raises `BookingNotFound`, `CoachingNotFound`."""
    if isinstance(booking_id, int):
        return PlacePurchase(work, *await lock_booking(work, booking_id), now, arrived_at)
    return TimePurchase(work, await work.coachings.get(booking_id), now, by, arrived_at)


async def expire_hold(work: UnitOfWork, event: Event, booking: Booking, now: datetime) -> Booking:
    """Cancels a booking whose payment did not come in time, frees its seat and writes the messages."""
    expired = booking.expired(now)
    await work.bookings.save(expired)
    await work.bookings.free_place(event.id)
    await work.reminders.align_booking(booking.id)
    await work.messages.owe_for_booking(Fact.BOOKING_CANCELLED, booking.id, reason=CancelReason.PAYMENT_EXPIRED)
    return expired


async def expire_coaching_hold(work: UnitOfWork, before: Coaching, now: datetime) -> Coaching:
    """Cancels a session whose payment did not come in time, frees its time and writes the messages."""
    reason = CoachingCancelReason.PAYMENT_EXPIRED
    expired = before.cancelled(now, reason)
    await work.coachings.save(expired)
    await work.coachings.record(expired, Change.CANCELLED, by=None, before=before, now=now)
    await work.messages.owe_for_coaching(Fact.BOOKING_CANCELLED, before.id, reason=reason)
    await work.messages.owe_calendars_of(before.id)
    await work.reminders.align_coaching(before.id)
    return expired


async def owe_refunded(work: UnitOfWork, booking_id: BookingId | CoachingId, *, reason: str, money: Money) -> None:
    if isinstance(booking_id, int):
        await work.messages.owe_for_booking(Fact.BOOKING_REFUNDED, booking_id, reason=reason, money=money)
    else:
        await work.messages.owe_for_coaching(Fact.BOOKING_REFUNDED, booking_id, reason=reason, money=money)


async def lock_booking(work: UnitOfWork, booking_id: BookingId) -> tuple[Event, Booking]:
    """The booking with its event, both locked, the event first: no two who change both wait for each other."""
    event_id = await work.bookings.find_event_id(booking_id)
    if event_id is None:
        raise BookingNotFound
    event = await work.events.get_even_hidden(event_id)
    return event, await work.bookings.get(booking_id)
