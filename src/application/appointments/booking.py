"""Booking of appointments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from application.appointments.changes import upcoming
from application.appointments.payment import AppointmentPayment
from application.appointments.ports import AppointmentQueries, AppointmentView, BusyTimes
from application.idempotency import recorded_result
from application.outbox.ports import WakeUps
from application.payments.ports.gateways import PaymentGateway
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.appointments import Appointment, NewAppointment, OnlyClientsBook, SeriesId
from domain.availability import SlotUnavailable
from domain.bookings import MAX_NOTES
from domain.coaches import Coach, CoachInactive, CoachNotFound
from domain.errors import Errors
from domain.ids import AppointmentId
from domain.payments import hold_end
from domain.text import text_with_lines
from domain.time import Interval
from domain.unpaid_holds import DEFAULT_LIMITS, HoldLimits, TooManyUnpaidHolds
from domain.unverified_mail import AddressNotVerified, EmailVerification


@dataclass(frozen=True, slots=True)
class BookedAppointment:
    appointment: AppointmentView
    payment_url: str | None


@use_case
class ReserveTime:
    """Reserves a coach's time inside a unit of work, with the status pending.

    - The domain decides whether the time is in the coach's hours, the database whether it is free.
    - An appointment that is paid at a gateway is held for its payment, at most until its start.
    - Appointments, payments, history and messages are written together, in a number of statements that does not depend
      on the number of sessions.
    """

    gateway: PaymentGateway
    hold_for: timedelta
    clock: Clock
    hold_limits: HoldLimits = DEFAULT_LIMITS
    verification: EmailVerification = EmailVerification.LIMITED

    async def require_hold(
        self, work: UnitOfWork, coach: Coach, client: User, length: timedelta, *, series: bool = False
    ) -> None:
        """Must be called before sessions of that length are reserved, once for a series. Raises
        `TooManyUnpaidHolds`."""
        if self.gateway.holds_seats and not coach.price_of(length).is_zero:
            in_all, with_coach = await work.appointments.count_unpaid_holds(client.id, coach.user.id)
            self.hold_limits.require_another(in_all, with_coach, series=series)

    async def __call__(
        self,
        work: UnitOfWork,
        coach: Coach,
        client: User,
        wanted: Sequence[Interval],
        busy: Sequence[Interval],
        notes: str | None,
        *,
        series_id: SeriesId | None = None,
    ) -> Sequence[Appointment | SlotUnavailable]:
        """`wanted`: the sessions by start time. `busy`: the coach's busy times around them. Returns for each session
        its appointment, or the reason why it cannot be booked."""
        now = self.clock.now()
        refusals = [_refusal(coach, session, busy, now) for session in wanted]
        offered = [session for session, refusal in zip(wanted, refusals, strict=True) if refusal is None]
        new = [self._new(coach, client, session, notes, series_id, now) for session in offered]
        added = iter(await work.appointments.add(new, now) if new else ())
        results = [refusal or next(added) or SlotUnavailable() for refusal in refusals]
        unpaid = [each for each in results if isinstance(each, Appointment) and not each.price.is_zero]
        if unpaid:
            await work.payments.add_for_appointments(unpaid, self.gateway.name, now)
        return results

    def _new(
        self,
        coach: Coach,
        client: User,
        session: Interval,
        notes: str | None,
        series_id: SeriesId | None,
        now: datetime,
    ) -> NewAppointment:
        price = coach.price_of(session.ends_at - session.starts_at)
        held = self.gateway.holds_seats and not price.is_zero
        return NewAppointment(
            client_id=client.id,
            coach_id=coach.user.id,
            session=session,
            busy=coach.availability.with_buffers(session),
            price=price,
            refund_policy=coach.refund_policy,
            notes=notes,
            hold_until=hold_end(now, self.hold_for, starts_at=session.starts_at) if held else None,
            series_id=series_id,
        )


def _refusal(coach: Coach, session: Interval, busy: Sequence[Interval], now: datetime) -> SlotUnavailable | None:
    try:
        coach.availability.refuse(session, busy, now)
    except SlotUnavailable as refusal:
        return refusal
    return None


@use_case
class BookAppointment:
    """Reserves a coach's time for a client. The new booking has the status `pending`.

    - The session starts in the future, has 15 to 480 minutes, and lies within the coach's hours.
    - Bookings of a coach never overlap, also with concurrent requests. The coach's events and connected calendars are
      busy times as well.
    - The coach confirms a free session; a payment confirms any other. The time of an unpaid session is held for a
      limited time.
    - The number of unpaid bookings of a client is limited, in total and for each coach.
    - The operator may require that the client's e-mail address is verified.
    - The appointment and its messages to the CRM, by e-mail and to calendars are written in one transaction.
    """

    raises: ClassVar[Errors] = (
        AddressNotVerified,
        OnlyClientsBook,
        CoachNotFound,
        CoachInactive,
        TooManyUnpaidHolds,
        SlotUnavailable,
    )

    open_work: OpenUnitOfWork
    reserve: ReserveTime
    busy_times: BusyTimes
    payment: AppointmentPayment
    reader: AppointmentQueries
    wake_ups: WakeUps
    clock: Clock

    async def __call__(
        self,
        client: User,
        coach_uuid: UUID,
        starts_at: datetime,
        length: timedelta,
        notes: str | None,
        *,
        return_url: str | None = None,
    ) -> BookedAppointment:
        """`return_url`: the allowed address that the client is redirected to after the checkout."""
        self.payment.require_allowed(return_url)
        if (made := recorded_result()) is not None:
            return await self._show(AppointmentId(UUID(made)), return_url)
        self.reserve.verification.require_to_book(client)
        wanted = upcoming(client, starts_at, length, self.clock.now())
        notes = text_with_lines("notes", notes, at_most=MAX_NOTES) if notes is not None else None
        await self.busy_times.refresh(coach_uuid)
        async with self.open_work() as work:
            coach = await work.coaches.get_to_book(coach_uuid)
            coach.require_bookable()
            await work.coaches.lock_out_events(coach.user.id)
            busy = await work.coaches.busy(coach.user.id, coach.availability.with_buffers(wanted))
            await self.reserve.require_hold(work, coach, client, length)
            [appointment] = await self.reserve(work, coach, client, [wanted], busy, notes)
            if isinstance(appointment, SlotUnavailable):
                raise appointment
            await work.commit(made=str(appointment.id))
        self.wake_ups.notify()
        return await self._show(appointment.id, return_url)

    async def _show(self, appointment_id: AppointmentId, return_url: str | None) -> BookedAppointment:
        appointment = await self.reader.get(appointment_id)
        [payment_url] = await self.payment.open([appointment], return_url=return_url)
        return BookedAppointment(appointment, payment_url)
