"""Synchronisation of bookings with connected calendars."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from application.calendars.connections import is_possible_token
from application.calendars.ports import CalendarJob, CalendarService, CalendarServices, Placed
from application.calendars.tokens import CalendarAccess
from application.idempotency import SAYS_THE_SAME
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.appointments import AppointmentNotFound, AppointmentStatus
from domain.availability import zone_of
from domain.calendars import (
    CalendarNotConfigured,
    CalendarNotConnected,
    CalendarNotUnderstood,
    CalendarReconnect,
    CalendarRefused,
    CalendarSyncForbidden,
    CalendarUnavailable,
    CancelledNotSynced,
    ConnectionId,
    NoCalendarToSync,
    Provider,
    TokenRejected,
)
from domain.errors import Errors, Invalid
from domain.ids import AppointmentId
from domain.outbox import Delivered, Failed, Message, Outcome


@use_case
class RecordEntry:
    """Records the state of an entry in a calendar.

    - The first link to an online meeting becomes the booking's link; sync jobs for all connected calendars of the
      client and the coach are enqueued.
    - If a booking changes while its entry is written, another job is enqueued.
    """

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, job: CalendarJob, placed: Placed | None, connection_id: ConnectionId | None) -> str | None:
        """Returns the booking's link. `placed` is None if the entry was removed."""
        async with self.open_work() as work:
            now = self.clock.now()
            booking = await work.appointments.get(job.booking_id)
            outdated, linked = booking.sequence != job.sequence, False
            if placed is not None and placed.link is not None and booking.meeting_link is None and booking.is_live:
                booking, linked = booking.with_meeting_link(placed.link, now), True
                await work.appointments.save(booking)
            if connection_id is not None and await work.calendars.find_locked(connection_id) is not None:
                if placed is None:
                    await work.calendars.forget_entry(connection_id, job.booking_id)
                else:
                    shown = replace(placed, link=job.entry.link or placed.link)
                    await work.calendars.keep_entry(connection_id, job, shown, now)
            if outdated and not linked:
                await work.messages.enqueue_calendar_syncs_of([job.booking_id])
            await work.commit(made=SAYS_THE_SAME)
        if outdated or linked:
            self.wake_ups.notify()
        return booking.meeting_link


@use_case
class CalendarJobs:
    """Sender of calendar jobs: brings a connected calendar to the current state of a booking.

    - The entry of a live booking is created or updated. The online meeting belongs to the coach's entry; the client's
      entry shows its link.
    - The entry of a cancelled booking is removed.
    - Jobs for a calendar that is no longer connected do nothing.
    """

    open_work: OpenUnitOfWork
    access: CalendarAccess
    record: RecordEntry

    async def deliver(self, message: Message) -> Outcome:
        try:
            return await self._converge(
                ConnectionId(UUID(message.payload["connection_id"])),
                AppointmentId(UUID(message.payload["booking_id"])),
            )
        except (CalendarNotConnected, CalendarReconnect):
            return Delivered("not connected")
        except (CalendarUnavailable, CalendarNotConfigured) as error:
            wait = timedelta(seconds=error.retry_after) if error.retry_after else None
            return Failed(error.message, retry_after=wait)
        except CalendarRefused as error:
            return Failed(error.message, permanent=True)
        except (CalendarNotUnderstood, TokenRejected) as error:
            return Failed(error.message)

    async def _converge(self, connection_id: ConnectionId, booking_id: AppointmentId) -> Outcome:
        async with self.open_work() as work:
            connection = await work.calendars.find_locked(connection_id)
            if connection is None:
                raise CalendarNotConnected
            job = await work.calendars.find_job(booking_id, connection.user_id, connection_id)
        if job is None:
            return Failed("there is no such booking", permanent=True)
        if job.status is AppointmentStatus.CANCELLED:
            await self.access(connection_id, lambda at, token: at.remove(token, job.entry, job.entry_id))
            await self.record(job, None, connection_id)
            return Delivered("taken out")
        if job.is_done:
            return Delivered("there already")
        placed = await self.access(connection_id, lambda at, token: at.put(token, job.entry, job.entry_id))
        await self.record(job, placed, connection_id)
        if placed.link_is_coming:
            return Failed("put in, but its online meeting is not made yet")
        return Delivered("put in")


@dataclass(frozen=True, slots=True)
class Synced:
    """`link`: the online meeting of the client and the coach."""

    entry_id: str
    link: str | None
    status: str


@use_case
class SyncBooking:
    """Creates or updates the entry of a booking in a calendar of the caller.

    - Only the booking's client and coach can call it, each for their own calendar.
    - With an access token in the request that token is used, else the connected calendar. A token may belong to another
      calendar account, so an entry that was created with it is not stored for the connected calendar.
    - A booking without a link to an online meeting gets one.
    """

    raises: ClassVar[Errors] = (
        CalendarNotConfigured,
        AppointmentNotFound,
        CalendarSyncForbidden,
        CancelledNotSynced,
        NoCalendarToSync,
        TokenRejected,
        CalendarRefused,
        CalendarReconnect,
        CalendarNotUnderstood,
        CalendarUnavailable,
    )

    open_work: OpenUnitOfWork
    services: CalendarServices
    access: CalendarAccess
    record: RecordEntry

    async def __call__(
        self,
        user: User,
        booking_id: AppointmentId,
        provider: Provider,
        *,
        access_token: str | None,
        timezone: str | None,
    ) -> Synced:
        if timezone is not None:
            zone_of(timezone)
        if access_token is not None and not is_possible_token(access_token):
            raise Invalid({"access_token": "Is not an access token"})
        async with self.open_work() as work:
            booking = await work.appointments.get(booking_id)
            connection = await work.calendars.find(user.id, provider)
            connection_id = connection.id if connection else None
            is_connected = connection is not None and access_token in {None, connection.access_token}
            job = await work.calendars.find_job(booking_id, user.id, connection_id)
        if job is None or user.id not in {booking.client_id, booking.coach_id}:
            raise CalendarSyncForbidden
        service = self.services.get(provider)
        if job.status is AppointmentStatus.CANCELLED:
            raise CancelledNotSynced
        entry = replace(job.entry, timezone=timezone or job.entry.timezone, hosts=True)
        job = replace(job, entry=entry)

        async def put(at: CalendarService, token: str) -> Synced:
            placed = await at.put(token, entry, job.entry_id)
            link = await self.record(job, placed, connection_id if is_connected else None)
            return Synced(placed.entry_id, link, placed.status)

        if access_token is not None:
            return await put(service, access_token)
        if connection_id is None:
            raise NoCalendarToSync
        return await self.access(connection_id, put)
