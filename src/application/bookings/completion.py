"""Completion of bookings whose events have ended."""

from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case

EVENTS_AT_ONCE = 20


@use_case
class CompleteBookings:
    """Sets bookings whose event has ended to `completed` and notifies the CRM. An event with held seats is skipped
    until they are paid or expired."""

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """Returns the number of events."""
        completed = 0
        while True:
            number = await self._some()
            completed += number
            if number < EVENTS_AT_ONCE:
                return completed

    async def _some(self) -> int:
        async with self.open_work() as work:
            completed = await work.events.complete_ended(self.clock.now(), limit=EVENTS_AT_ONCE)
            await work.commit()
        if completed:
            self.wake_ups.notify()
        return completed
