"""Rescheduling, cancellation, status and notes of appointments."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from application.appointments.ports import AppointmentQueries, AppointmentView, BusyTimes
from application.idempotency import made_before
from application.outbox.ports import WakeUps
from application.payments.ports.records import Refund
from application.payments.refunds import Refunds
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from domain.accounts import Role, User
from domain.appointments import (
    Appointment,
    AppointmentCancelReason,
    AppointmentChangeForbidden,
    AppointmentStatus,
    OnlyClientsBook,
    OnlyCoachDecides,
    session,
)
from domain.availability import SlotUnavailable
from domain.bookings import MAX_NOTES
from domain.errors import Invalid
from domain.ids import AppointmentId, AppointmentRef
from domain.outbox import MessageType
from domain.payments import UNPAID
from domain.text import prose
from domain.time import Interval


def upcoming(client: User, starts_at: datetime, length: timedelta, now: datetime) -> Interval:
    """The session a client asks for. Raises `OnlyClientsBook`, and `Invalid` for a nonsensical or a past one."""
    if client.role is not Role.USER:
        raise OnlyClientsBook
    wanted = session(starts_at, length)
    if wanted.starts_at <= now:
        raise Invalid({"session_datetime": "Session must be scheduled in the future"})
    return wanted


@dataclass(frozen=True, slots=True)
class RescheduleAppointment:
    """Moves a session to another time, keeping its status and its payment.

    - The client moves it, before it has begun, into hours that the coach offers; the coach and admins anywhere that is
      free.
    - The length of a session that costs something stays, and a client's move brings back nothing that a cancellation
      would not give back any more. After a move by the coach or an admin the client may cancel for a full refund.
    - Both people, the CRM and connected calendars hear of it. Moved to where it is, nothing happens.
    """

    open_work: OpenUnitOfWork
    busy_times: BusyTimes
    reader: AppointmentQueries
    wake_ups: WakeUps
    clock: Clock

    async def __call__(
        self, user: User, appointment_id: AppointmentId, starts_at: datetime, length: timedelta | None
    ) -> AppointmentView:
        view = await self.reader.get(appointment_id)
        view.require_participant(user, AppointmentChangeForbidden)
        if made_before() is not None:
            return view
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
            await work.coaches.keep_events_out(before.coach_id)
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


@dataclass(frozen=True, slots=True)
class CancelAppointment:
    """Gives up a session that is pending or confirmed; the time is free for the next client at once.

    - The client gets back what the coach's refund policy says, everything when the coach or an admin cancels.
    - A checkout that is still open is closed.
    """

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


@dataclass(frozen=True, slots=True)
class ChangeAppointmentStatus:
    """Confirms, completes or cancels a session: from pending to confirmed or cancelled, from confirmed to completed or
    cancelled, and never else.

    - The coach confirms and completes; so do admins. The client may only cancel.
    - An appointment that is paid at a gateway is confirmed only by its payment.
    """

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


@dataclass(frozen=True, slots=True)
class UpdateAppointmentNotes:
    """Changes a session's notes, before and after it; its client and its coach write the same ones. The history keeps
    what stood there."""

    open_work: OpenUnitOfWork
    reader: AppointmentQueries
    clock: Clock

    async def __call__(self, user: User, appointment_id: AppointmentId, notes: str | None) -> AppointmentView:
        now = self.clock.now()
        async with self.open_work() as work:
            before = await work.appointments.get(appointment_id)
            before.require_participant(user)
            if notes != before.notes:
                checked = None if notes is None else prose("notes", notes, at_most=MAX_NOTES)
                await work.appointments.save(before.with_notes(checked, now, by=user.id))
            await work.commit()
        return await self.reader.get(appointment_id)
