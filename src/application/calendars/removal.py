"""Removal of all of an account's connected calendars."""

from contextlib import suppress

from application.calendars.connections import DisconnectCalendar
from application.calendars.tokens import CalendarAccess
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import UserId
from domain.calendars import (
    CalendarNotConfigured,
    CalendarNotConnected,
    CalendarNotUnderstood,
    CalendarReconnect,
    CalendarRefused,
    CalendarUnavailable,
    Provider,
)
from domain.ids import AppointmentId

ENTRIES = 100
"""Of a calendar in one call."""
_FINAL = (CalendarNotConfigured, CalendarNotConnected, CalendarReconnect, CalendarRefused)
"""Another attempt cannot succeed."""


@use_case
class RemoveCalendars:
    """Removes the entries that Convene has created in the calendars of an account, past ones too, and disconnects the
    calendars.

    - An entry that its provider refuses to remove for ever, or whose access has ended, stays.
    """

    open_work: OpenUnitOfWork
    access: CalendarAccess
    disconnect: DisconnectCalendar

    async def __call__(self, user_id: UserId, *, force: bool) -> bool:
        """As the port `CalendarRemoval`."""
        return all([await self._remove(user_id, provider, force=force) for provider in Provider])

    async def _remove(self, user_id: UserId, provider: Provider, *, force: bool) -> bool:
        async with self.open_work() as work:
            user = await work.users.get(user_id)
            entries = await work.calendars.find_entries(user_id, provider, limit=ENTRIES)
        if not force:
            try:
                for booking_id in entries:
                    await self._remove_entry(user_id, provider, booking_id)
            except (CalendarUnavailable, CalendarNotUnderstood):
                return False
            if len(entries) == ENTRIES:
                return False
        with suppress(CalendarNotConnected):
            await self.disconnect(user, provider)
        return True

    async def _remove_entry(self, user_id: UserId, provider: Provider, booking_id: AppointmentId) -> None:
        async with self.open_work() as work:
            connection = await work.calendars.find(user_id, provider)
            if connection is None:
                return
            job = await work.calendars.find_job(booking_id, user_id, connection.id)
        if job is not None:
            with suppress(*_FINAL):
                await self.access(connection.id, lambda at, token: at.remove(token, job.entry, job.entry_id))
        async with self.open_work() as work:
            await work.calendars.forget_entry(connection.id, booking_id)
            await work.commit()
