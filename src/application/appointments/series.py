"""Recurring sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

from application.appointments.booking import BookedAppointment, ReserveTime
from application.appointments.changes import upcoming
from application.appointments.payment import AppointmentPayment
from application.appointments.ports import AppointmentQueries, BusyTimes, Recurrences
from application.idempotency import recorded_result
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.appointments import MAX_OCCURRENCES, OnlyClientsBook, SeriesId, SeriesRefused, session
from domain.availability import SlotUnavailable, zone_of
from domain.bookings import MAX_NOTES
from domain.coaches import CoachInactive, CoachNotFound
from domain.errors import Errors
from domain.ids import AppointmentId
from domain.text import text_with_lines
from domain.time import Interval
from domain.unpaid_holds import TooManyUnpaidHolds
from domain.unverified_mail import AddressNotVerified


@dataclass(frozen=True, slots=True)
class BookedSeries:
    """`refused`: the sessions that could not be booked, each with the reason."""

    series_id: SeriesId
    appointments: Sequence[BookedAppointment]
    refused: Sequence[tuple[datetime, str]]


@use_case
class BookSeries:
    """Books recurring sessions with a coach by a recurrence rule (RFC 5545).

    - Every session starts at the same local time, also across daylight saving changes. The time zone is the coach's
      unless the request names another. The rule has an end, and at most 52 occurrences within five years.
    - The operator may require that the client's e-mail address is verified.
    - All sessions are booked or none; on request, those that are available.
    - A series counts as one unpaid booking until all of its sessions are paid. Until then the client cannot book a
      second series with the same coach.
    - Each session is a separate booking with a separate payment: it is paid, moved and cancelled individually. The
      response has the payment link of each session with a price. A link that is missing, because the gateway was
      unavailable or slow, can be requested later.
    """

    raises: ClassVar[Errors] = (
        AddressNotVerified,
        OnlyClientsBook,
        CoachNotFound,
        CoachInactive,
        TooManyUnpaidHolds,
        SeriesRefused,
    )

    open_work: OpenUnitOfWork
    reserve: ReserveTime
    busy_times: BusyTimes
    recurrences: Recurrences
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
        rule: str,
        *,
        timezone: str | None,
        notes: str | None,
        skip_conflicts: bool,
        return_url: str | None = None,
    ) -> BookedSeries:
        self.payment.require_allowed(return_url)
        if (made := recorded_result()) is not None:
            return await self._show(made, return_url)
        self.reserve.verification.require_to_book(client)
        first = upcoming(client, starts_at, length, self.clock.now())
        notes = text_with_lines("notes", notes, at_most=MAX_NOTES) if notes is not None else None
        await self.busy_times.refresh(coach_uuid)
        series_id = SeriesId(uuid4())
        booked: list[AppointmentId] = []
        refused: list[tuple[datetime, str]] = []
        async with self.open_work() as work:
            coach = await work.coaches.get_to_book(coach_uuid)
            coach.require_bookable()
            zone = zone_of(timezone or coach.availability.timezone)
            moments = self.recurrences.occurrences(rule, first.starts_at, zone, at_most=MAX_OCCURRENCES)
            # Sorted by time, so that two series with the same coach cannot deadlock.
            sessions = [session(moment, length) for moment in moments]
            await work.coaches.lock_out_events(coach.user.id)
            whole = Interval(sessions[0].starts_at, sessions[-1].ends_at)
            busy = await work.coaches.busy(coach.user.id, coach.availability.with_buffers(whole))
            await self.reserve.require_hold(work, coach, client, length, series=True)
            results = await self.reserve(work, coach, client, sessions, busy, notes, series_id=series_id)
            for wanted, result in zip(sessions, results, strict=True):
                if isinstance(result, SlotUnavailable):
                    refused.append((wanted.starts_at, result.message))
                else:
                    booked.append(result.id)
            if not booked or (refused and not skip_conflicts):
                raise SeriesRefused(refused)
            made = {
                "series": str(series_id),
                "booked": [str(appointment_id) for appointment_id in booked],
                "refused": [(moment.isoformat(), why) for moment, why in refused],
            }
            await work.commit(made)
        self.wake_ups.notify()
        return await self._show(made, return_url)

    async def _show(self, made: Mapping[str, Any], return_url: str | None) -> BookedSeries:
        appointments = await self.reader.list([AppointmentId(UUID(each)) for each in made["booked"]])
        payment_urls = await self.payment.open(appointments, return_url=return_url)
        return BookedSeries(
            SeriesId(UUID(made["series"])),
            list(map(BookedAppointment, appointments, payment_urls)),
            [(datetime.fromisoformat(moment), why) for moment, why in made["refused"]],
        )
