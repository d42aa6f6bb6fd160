"""Erases accounts whose erasure is due."""

import logging
from contextlib import suppress
from dataclasses import replace

from application.appointments.changes import CancelAppointment
from application.bookings.cancellation import CancelBooking
from application.bookings.invitations import decline
from application.erasure.ports import CalendarRemoval, ErasureStore, StoredMails
from application.events.management import CancelEvent
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User, UserId
from domain.erasure import Erasure
from domain.errors import Conflict, Unavailable

_log = logging.getLogger(__name__)

ACCOUNTS = 10
"""In one call."""
CANCELLED = 100
"""Of each kind and account in one call."""


@use_case
class CarryOutErasures:
    """Erases the accounts whose erasure is due. Every step can be repeated: after a crash the next call goes on.

    - Bookings, appointments and events that are ahead are cancelled first, as by the person.
    - The erasure waits until the messages about that, and the refunds, are delivered, and until the entries in
      connected calendars are removed: at most 24 hours. Mails about changes that wait for further ones are deleted, as
      a cancellation supersedes them.
    - Files of mails are deleted, then all stored personal data in one transaction.
    - A failed erasure does not delay those of others.
    """

    open_work: OpenUnitOfWork
    store: ErasureStore
    cancel_booking: CancelBooking
    cancel_appointment: CancelAppointment
    cancel_event: CancelEvent
    remove_calendars: CalendarRemoval
    mails: StoredMails
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """Returns the number of erased accounts. Raises `Unavailable`."""
        erased = 0
        for user_id in await self.store.list_due(self.clock.now(), limit=ACCOUNTS):
            try:
                erased += await self._erase(user_id)
            except Unavailable:
                raise
            except Exception:
                _log.exception("erasure_failed of account %s", user_id)
        return erased

    async def _erase(self, user_id: UserId) -> bool:
        user, erasure = await self._begin(user_id)
        if erasure is None:
            return False
        is_patient = erasure.may_wait(self.clock.now())
        is_busy = await self._cancel_what_is_ahead(user) or await self.store.has_pending_messages(user_id)
        if is_busy and is_patient:
            return False
        if not await self.remove_calendars(user_id, force=not is_patient):
            return False
        identifiers = await self.store.find_identifiers(user_id)
        await self.mails.delete_about(identifiers)
        is_erased = await self.store.erase(user_id, identifiers)
        self.wake_ups.notify()
        return is_erased

    async def _begin(self, user_id: UserId) -> tuple[User, Erasure | None]:
        now = self.clock.now()
        async with self.open_work() as work:
            user = await work.users.get_locked(user_id)
            erasure = await work.erasures.find(user_id)
            if erasure is None or erasure.begun_at is not None:
                return user, erasure
            await work.erasures.begin(user_id, now)
            await work.commit()
        return user, replace(erasure, begun_at=now)

    async def _cancel_what_is_ahead(self, user: User) -> bool:
        """Returns whether there was something. What ends concurrently needs no cancellation."""
        now = self.clock.now()
        ahead = await self.store.find_ahead(user.id, now, limit=CANCELLED)
        for event_id in ahead.events:
            with suppress(Conflict):
                await self.cancel_event(user, event_id)
        for booking_id in ahead.bookings:
            with suppress(Conflict):
                await self.cancel_booking(user, booking_id)
        for appointment_id in ahead.appointments:
            with suppress(Conflict):
                await self.cancel_appointment(user, appointment_id)
        for invitation_id in ahead.invitations:
            with suppress(Conflict):
                await decline(self.open_work, invitation_id, now)
        return bool(ahead)
