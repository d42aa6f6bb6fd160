"""Payables: a seat in an event or an appointment with a coach, which payments treat alike."""

from datetime import datetime
from typing import Protocol

from application.unit_of_work import UnitOfWork
from application.use_cases import use_case
from domain.accounts import User, UserId
from domain.appointments import (
    Appointment,
    AppointmentCancelReason,
    AppointmentStatus,
    OnlyCoachRecords,
)
from domain.availability import SlotUnavailable
from domain.bookings import Booking, BookingNotFound, BookingStatus, CancelReason
from domain.coaches import CoachNotFound
from domain.disputes import Dispute, DisputeStatus
from domain.errors import Conflict
from domain.events import Event, EventNotFound, EventStatus
from domain.ids import BookingId, BookingRef, PayableRef
from domain.money import Money
from domain.outbox import MessageType
from domain.payments import UNPAID, PaymentStatus
from domain.refunds import PAID_AFTER_START, SEAT_GONE


class Payable(Protocol):
    """Locked until the unit of work ends."""

    @property
    def payment_status(self) -> PaymentStatus: ...

    @property
    def is_cancelled(self) -> bool: ...

    @property
    def has_started(self) -> bool:
        """Whether it had started when the payment arrived, or has ended now."""
        ...

    @property
    def refund_reason(self) -> str:
        """The reason of the refund of a payment that arrives now."""
        ...

    def require_manager(self, user: User) -> None: ...

    async def pay(self, money: Money) -> None: ...

    async def reinstate(self, money: Money) -> bool:
        """Reserves it again, as paid, after its hold had expired. Returns False if it is not available any more."""
        ...

    async def fail(self, money: Money) -> None:
        """Records a failed attempt to pay, while it awaits a payment."""
        ...

    async def show_refunded(self) -> None:
        """Marks it as refunded; it stays as it is otherwise."""
        ...

    async def give_back(self) -> None:
        """Marks it as refunded. Cancels it if it was held for a payment until the start."""
        ...

    async def show_dispute(self, dispute: Dispute, *, of_payment: DisputeStatus | None, is_returned: bool) -> None:
        """`of_payment`: the status of all disputes about the payment. `is_returned`: the dispute took back what was
        left of the payment, and it is marked as refunded."""
        ...


@use_case
class PayableBooking:
    work: UnitOfWork
    event: Event
    booking: Booking
    now: datetime
    arrived_at: datetime | None = None
    """The time at which the payment arrived; the present time if None."""

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
    def refund_reason(self) -> str:
        if self.event.status is EventStatus.CANCELLED:
            return MessageType.EVENT_CANCELLED
        if self.booking.cancel_reason in {CancelReason.BY_PERSON, CancelReason.BY_ORGANISER}:
            return MessageType.BOOKING_CANCELLED
        return PAID_AFTER_START if self.has_started else SEAT_GONE

    def require_manager(self, user: User) -> None:
        self.event.require_manager(user)

    async def pay(self, money: Money) -> None:
        await self.work.bookings.save(self.booking.paid(money))

    async def reinstate(self, money: Money) -> bool:
        if not await self._can_reserve_again():
            return False
        await self.work.bookings.save(self.booking.reinstated(money))
        return True

    async def fail(self, money: Money) -> None:
        if self.booking.status is BookingStatus.CONFIRMED and self.booking.payment_status in UNPAID:
            await self.work.bookings.save(self.booking.payment_failed(money))

    async def show_refunded(self) -> None:
        await self.work.bookings.save(self.booking.refunded())

    async def give_back(self) -> None:
        booking = self.booking
        if booking.status is BookingStatus.CONFIRMED:
            booking = await expire_hold(self.work, booking, self.now)
        await self.work.bookings.save(booking.refunded())

    async def show_dispute(self, dispute: Dispute, *, of_payment: DisputeStatus | None, is_returned: bool) -> None:
        before, money = self.booking, dispute.amount
        if dispute.status is DisputeStatus.OPEN:
            disputed = before.dispute_opened(money, of_payment=of_payment)
        elif dispute.status is DisputeStatus.WON:
            disputed = before.dispute_won(money, of_payment=of_payment)
        else:
            disputed = before.dispute_lost(money, of_payment=of_payment, is_returned=is_returned)
        await self.work.bookings.save(disputed)

    async def _can_reserve_again(self) -> bool:
        if self.booking.cancel_reason is not CancelReason.PAYMENT_EXPIRED or self.has_started:
            return False
        already_booked = await self.work.bookings.has_live_booking(self.event.id, self.booking.user_id)
        try:
            self.event.refuse_booking(self.arrived_at or self.now, already_booked=already_booked)
        except (Conflict, EventNotFound):
            return False
        return True


@use_case
class PayableAppointment:
    """`by`: the account that reported the payment; None for a gateway."""

    work: UnitOfWork
    appointment: Appointment
    now: datetime
    by: UserId | None = None
    arrived_at: datetime | None = None
    """The time at which the payment arrived; the present time if None."""

    @property
    def payment_status(self) -> PaymentStatus:
        return self.appointment.payment_status

    @property
    def is_cancelled(self) -> bool:
        return self.appointment.status is AppointmentStatus.CANCELLED

    @property
    def has_started(self) -> bool:
        session = self.appointment.session
        return session.starts_at <= (self.arrived_at or self.now) or session.ends_at <= self.now

    @property
    def refund_reason(self) -> str:
        if self.is_cancelled and self.appointment.cancel_reason is not AppointmentCancelReason.PAYMENT_EXPIRED:
            return MessageType.BOOKING_CANCELLED
        return PAID_AFTER_START if self.has_started else SEAT_GONE

    def require_manager(self, user: User) -> None:
        if not self.appointment.is_run_by(user):
            self.appointment.require_participant(user)
            raise OnlyCoachRecords

    async def pay(self, money: Money) -> None:
        await self.work.appointments.save(self.appointment.paid(self.now, money, by=self.by))

    async def reinstate(self, money: Money) -> bool:
        """Only the hold had expired: opening hours and notice are not checked again, but the time must be free."""
        appointment = self.appointment
        if appointment.cancel_reason is not AppointmentCancelReason.PAYMENT_EXPIRED or self.has_started:
            return False
        if not await self._coach_is_there():
            return False
        await self.work.coaches.lock_out_events(appointment.coach_id)
        if await self.work.coaches.busy(appointment.coach_id, appointment.busy):
            return False
        try:
            await self.work.appointments.save(appointment.reinstated(self.now, money))
        except SlotUnavailable:
            return False
        return True

    async def fail(self, money: Money) -> None:
        if self.appointment.is_live and self.appointment.payment_status in UNPAID:
            await self.work.appointments.save(self.appointment.payment_failed(self.now, money, by=self.by))

    async def show_refunded(self) -> None:
        await self.work.appointments.save(self.appointment.refunded(self.now, by=self.by))

    async def give_back(self) -> None:
        before = self.appointment
        if before.is_live:
            before = await expire_appointment_hold(self.work, before, self.now)
        await self.work.appointments.save(before.refunded(self.now, by=self.by))

    async def show_dispute(self, dispute: Dispute, *, of_payment: DisputeStatus | None, is_returned: bool) -> None:
        before, now, money = self.appointment, self.now, dispute.amount
        if dispute.status is DisputeStatus.OPEN:
            disputed = before.dispute_opened(now, money, of_payment=of_payment)
        elif dispute.status is DisputeStatus.WON:
            disputed = before.dispute_won(now, money, of_payment=of_payment)
        else:
            disputed = before.dispute_lost(now, money, of_payment=of_payment, is_returned=is_returned)
        await self.work.appointments.save(disputed)

    async def _coach_is_there(self) -> bool:
        """Only checked for a reinstatement: other payments are accepted also after the coach has left."""
        try:
            coach = await self.work.coaches.get_by_id(self.appointment.coach_id)
        except CoachNotFound:
            return False
        return coach.user.is_active


async def lock_payable(
    work: UnitOfWork,
    payable: PayableRef,
    now: datetime,
    *,
    by: UserId | None = None,
    arrived_at: datetime | None = None,
) -> Payable:
    """Raises `BookingNotFound`, `AppointmentNotFound`."""
    if isinstance(payable, BookingRef):
        return PayableBooking(work, *await lock_booking(work, payable.id), now, arrived_at)
    return PayableAppointment(work, await work.appointments.get(payable.id), now, by, arrived_at)


async def expire_hold(work: UnitOfWork, booking: Booking, now: datetime) -> Booking:
    """Cancels a booking whose payment did not arrive in time, and releases its seat. The event is locked."""
    expired = booking.expired(now)
    await work.bookings.save(expired)
    return expired


async def expire_appointment_hold(work: UnitOfWork, before: Appointment, now: datetime) -> Appointment:
    """Cancels a session whose payment did not arrive in time, and releases its time."""
    expired = before.cancelled(now, AppointmentCancelReason.PAYMENT_EXPIRED, by=None)
    await work.appointments.save(expired)
    return expired


async def enqueue_refunded(work: UnitOfWork, payable: PayableRef, *, reason: str, money: Money) -> None:
    if isinstance(payable, BookingRef):
        await work.messages.enqueue_booking_refunded(payable.id, reason=reason, money=money)
    else:
        await work.messages.enqueue_appointment_refunded(payable.id, reason=reason, money=money)


async def lock_booking(work: UnitOfWork, booking_id: BookingId) -> tuple[Event, Booking]:
    """The booking with its event, both locked, the event first, which prevents deadlocks."""
    event_id = await work.bookings.find_event_id(booking_id)
    if event_id is None:
        raise BookingNotFound
    event = await work.events.get_including_deleted(event_id)
    return event, await work.bookings.get(booking_id)
