"""Keeping connected calendars as the bookings are."""

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from application.calendar_access import CalendarAccess
from application.ports.calendars import Errand, Placed
from application.ports.idempotency import SAYS_THE_SAME
from application.ports.messaging import WakeUps
from application.ports.persistence import OpenUnitOfWork
from application.ports.system import Clock
from domain.calendars import (
    CalendarAway,
    CalendarNotConfigured,
    CalendarNotConnected,
    CalendarNotUnderstood,
    CalendarReconnect,
    CalendarRefused,
    ConnectionId,
    TokenRejected,
)
from domain.coaching import Change, CoachingId, CoachingStatus
from domain.messages import Delivered, Failed, Message, Outcome


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """Writes down how a calendar was left.

    - The first link to an online meeting becomes the booking's; all connected calendars of both people are to show it.
    - A booking that has changed while its calendar was written is owed to the calendars once more.
    """

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, errand: Errand, placed: Placed | None, connection_id: ConnectionId | None) -> str | None:
        """Answers with the booking's link. `placed` None: the entry is gone."""
        async with self.open_work() as work:
            now = self.clock.now()
            booking = await work.coachings.get(errand.booking_id)
            outdated = booking.sequence != errand.sequence
            if placed is not None and placed.link is not None and booking.meeting_link is None and booking.is_live:
                linked = booking.linked(placed.link, now)
                await work.coachings.save(linked)
                await work.coachings.record(linked, Change.LINKED, by=None, before=booking, now=now)
                booking = linked
                outdated = True
            if connection_id is not None and await work.calendars.find_locked(connection_id) is not None:
                if placed is None:
                    await work.calendars.forget_entry(connection_id, errand.booking_id)
                else:
                    shown = replace(placed, link=errand.entry.link or placed.link)
                    await work.calendars.keep_entry(connection_id, errand, shown, now)
            if outdated:
                await work.messages.owe_calendars_of(errand.booking_id)
            await work.commit(made=SAYS_THE_SAME)
        if outdated:
            self.wake_ups.nudge()
        return booking.meeting_link


@dataclass(frozen=True, slots=True)
class CalendarErrands:
    """A courier: brings a connected calendar to what a booking is now, whatever it was when the message was written.

    - A live booking is put in or changed; the coach's entry carries the online meeting, the client's shows it.
    - A cancelled one is taken out.
    - For a calendar that is no longer connected there is nothing to do.
    """

    open_work: OpenUnitOfWork
    access: CalendarAccess
    record: RecordEntry

    async def deliver(self, message: Message) -> Outcome:
        try:
            return await self._converge(
                ConnectionId(UUID(message.snapshot["connection_id"])),
                CoachingId(UUID(message.snapshot["booking_id"])),
            )
        except (CalendarNotConnected, CalendarReconnect):
            return Delivered("not connected")
        except (CalendarAway, CalendarNotConfigured) as error:
            wait = timedelta(seconds=error.retry_after) if error.retry_after else None
            return Failed(error.sentence, retry_after=wait)
        except CalendarRefused as error:
            return Failed(error.sentence, permanent=True)
        except (CalendarNotUnderstood, TokenRejected) as error:
            return Failed(error.sentence)

    async def _converge(self, connection_id: ConnectionId, booking_id: CoachingId) -> Outcome:
        async with self.open_work() as work:
            connection = await work.calendars.find_locked(connection_id)
            if connection is None:
                raise CalendarNotConnected
            errand = await work.calendars.find_errand(booking_id, connection.user_id, connection_id)
        if errand is None:
            return Failed("there is no such booking", permanent=True)
        if errand.status is CoachingStatus.CANCELLED:
            await self.access(connection_id, lambda at, token: at.remove(token, errand.entry, errand.entry_id))
            await self.record(errand, None, connection_id)
            return Delivered("taken out")
        if errand.is_done:
            return Delivered("there already")
        placed = await self.access(connection_id, lambda at, token: at.put(token, errand.entry, errand.entry_id))
        await self.record(errand, placed, connection_id)
        if placed.link_is_coming:
            return Failed("put in, but its online meeting is not made yet")
        return Delivered("put in")
