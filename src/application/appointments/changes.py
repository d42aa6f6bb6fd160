"""Rescheduling, cancellation, status and notes of appointments."""

from datetime import datetime, timedelta
from typing import ClassVar

from application.appointments.ports import AppointmentQueries, AppointmentView, BusyTimes
from application.idempotency import recorded_result
from application.outbox.ports import WakeUps
from application.payments.ports.records import Refund
from application.payments.refunds import Refunds
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import Role, User
from domain.appointments import (
    Appointment,
    AppointmentCancelReason,
    AppointmentChangeForbidden,
    AppointmentNotFound,
    AppointmentStatus,
    HasBegun,
    InvalidTransition,
    NotCancellable,
    NotReschedulable,
    OnlyClientsBook,
    OnlyCoachDecides,
    PaymentConfirms,
    PricedLengthFixed,
    session,
)
from domain.availability import SlotUnavailable
from domain.bookings import MAX_NOTES
from domain.coaches import CoachInactive
from domain.errors import Errors, Invalid
from domain.ids import AppointmentId, AppointmentRef
from domain.outbox import MessageType
from domain.payments import UNPAID
from domain.text import text_with_lines
from domain.time import Interval
from domain.unverified_mail import AddressNotVerified, EmailVerification


def upcoming(client: User, starts_at: datetime, length: timedelta, now: datetime) -> Interval:
    """The session that a client requests. Raises `OnlyClientsBook`, and `Invalid` for an invalid or past time."""
    if client.role is not Role.USER:
        raise OnlyClientsBook
    wanted = session(starts_at, length)
    if wanted.starts_at <= now:
        raise Invalid({"session_datetime": "Session must be scheduled in the future"})
    return wanted


@use_case
class RescheduleAppointment:
    """Moves a session to another time. Its status and its payment stay.

    - The client can move it before its start, within the coach's hours. The coach and admins can move it to any free
      time.
    - The operator may require that the e-mail address of a client who moves it is verified.
    - The length of a session with a price cannot change.
    - A move by the client does not increase the refund of a later cancellation. After a move by the coach or an admin
      the client can cancel for a full refund.
    - The client, the coach, the CRM and connected calendars are notified. A move to the present time changes nothing.
    """

    raises: ClassVar[Errors] = (
        AppointmentNotFound,
        AppointmentChangeForbidden,
        AddressNotVerified,
        CoachInactive,
        NotReschedulable,
        HasBegun,
        PricedLengthFixed,
        SlotUnavailable,
    )

    open_work: OpenUnitOfWork
    busy_times: BusyTimes
    reader: AppointmentQueries
    wake_ups: WakeUps
    clock: Clock
    verification: EmailVerification = EmailVerification.LIMITED

    async def __call__(
        self, user: User, appointment_id: AppointmentId, starts_at: datetime, length: timedelta | None
    ) -> AppointmentView:
        view = await self.reader.get(appointment_id)
        view.require_participant(user, AppointmentChangeForbidden)
        if recorded_result() is not None:
            return view
        if user.id == view.client_id:
            self.verification.require_to_book(user)
        await self.busy_times.refresh(view.coach_uuid)
        now = self.clock.now()
        async with self.open_work() as work:
            before = await work.appointments.get(appointment_id)
            wanted = session(starts_at, length or before.session.ends_at - before.session.starts_at)
            if wanted.starts_at <= now:
                raise Invalid({"session_datetime": "Session must be scheduled in the future"})
            if before.is_live and wanted == before.session:
                return await self.reader.get(appointment_id)
            coach = await work.coaches.get_by_id(before.coach_id)
            blocked = coach.availability.with_buffers(wanted)
            reschedule = before.rescheduled_by_coach if before.is_run_by(user) else before.rescheduled_by_client
            rescheduled = reschedule(wanted, blocked, now, by=user.id)
            await work.coaches.lock_out_events(before.coach_id)
            busy = await work.coaches.busy(before.coach_id, blocked, apart_from=appointment_id)
            if not before.is_run_by(user):
                coach.require_bookable()
                coach.availability.refuse(wanted, busy, now)
            elif busy:
                raise SlotUnavailable
            await work.appointments.save(rescheduled)
            await work.commit(made=str(appointment_id))
        self.wake_ups.notify()
        return await self.reader.get(appointment_id)


@use_case
class CancelAppointment:
    """Cancels a pending or confirmed session. Its time can be booked again immediately.

    - The client's refund follows the coach's refund policy. It is a full refund when the coach or an admin cancels.
    - An open checkout is closed.
    """

    raises: ClassVar[Errors] = (AppointmentNotFound, AppointmentChangeForbidden, NotCancellable)

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, appointment_id: AppointmentId) -> None:
        async with self.open_work() as work:
            before = await work.appointments.get(appointment_id)
            before.require_participant(user)
            await self.within(work, before, user)
            await work.commit()
        self.wake_ups.notify()

    async def within(self, work: UnitOfWork, before: Appointment, user: User) -> Refund | None:
        now = self.clock.now()
        reason = before.reason_of_cancellation(user)
        before.require_cancellable()
        refund = None
        payment = await work.payments.find_for(AppointmentRef(before.id))
        if payment is not None:
            back = payment.refundable
            if reason is AppointmentCancelReason.BY_PERSON:
                back = before.refund_policy.refund_of(back, now=now, starts_at=before.session.starts_at)
            if not back.is_zero:
                refund = await self.refunds.request(
                    work, payment, back, reason=MessageType.BOOKING_CANCELLED, by=user.id
                )
            elif payment.order_id is not None and payment.status in UNPAID:
                await work.messages.enqueue_checkout_close(payment)
        await work.appointments.save(before.cancelled(now, reason, by=user.id, refunded=refund is not None))
        return refund


@use_case
class ChangeAppointmentStatus:
    """Confirms, completes or cancels a session: from pending to confirmed or cancelled, from confirmed to completed or
    cancelled. No other transition is allowed.

    - The coach and admins confirm and complete sessions. The client can only cancel.
    - An appointment that is paid at a gateway is confirmed only by its payment.
    """

    raises: ClassVar[Errors] = (
        AppointmentNotFound,
        AppointmentChangeForbidden,
        InvalidTransition,
        OnlyCoachDecides,
        PaymentConfirms,
        NotCancellable,
    )

    open_work: OpenUnitOfWork
    cancel: CancelAppointment
    reader: AppointmentQueries
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, appointment_id: AppointmentId, status: AppointmentStatus) -> AppointmentView:
        async with self.open_work() as work:
            before = await work.appointments.get(appointment_id)
            before.require_participant(user)
            before.require_transition(status)
            if status is AppointmentStatus.CANCELLED:
                await self.cancel.within(work, before, user)
            else:
                await self._decide(work, before, user, status)
            await work.commit()
        self.wake_ups.notify()
        return await self.reader.get(appointment_id)

    async def _decide(self, work: UnitOfWork, before: Appointment, user: User, status: AppointmentStatus) -> None:
        if not before.is_run_by(user):
            raise OnlyCoachDecides
        transition = before.confirmed if status is AppointmentStatus.CONFIRMED else before.completed
        await work.appointments.save(transition(self.clock.now(), by=user.id))


@use_case
class UpdateAppointmentNotes:
    """Changes the notes of a session, before or after it. Its client and its coach share one text; the history stores
    earlier versions."""

    raises: ClassVar[Errors] = (AppointmentNotFound, AppointmentChangeForbidden)

    open_work: OpenUnitOfWork
    reader: AppointmentQueries
    clock: Clock

    async def __call__(self, user: User, appointment_id: AppointmentId, notes: str | None) -> AppointmentView:
        now = self.clock.now()
        async with self.open_work() as work:
            before = await work.appointments.get(appointment_id)
            before.require_participant(user)
            if notes != before.notes:
                checked = None if notes is None else text_with_lines("notes", notes, at_most=MAX_NOTES)
                await work.appointments.save(before.with_notes(checked, now, by=user.id))
            await work.commit()
        return await self.reader.get(appointment_id)
