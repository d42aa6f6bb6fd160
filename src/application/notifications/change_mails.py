"""Mails about changes of events and appointments that have waited for further changes."""

from application.notifications.ports import ChangedRef
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.events import EventId

AT_ONCE = 200


@use_case
class QueueChangeMails:
    """Enqueues the mails about changes whose wait has ended.

    - Each event and each appointment has its own unit of work, which locks it: a change is either in the mail or waits
      for the next one.
    - The mail shows the state before the first change and the present one. There is none if both are the same, or if
      the booking was cancelled.
    - A run ends when no mail is due, so a delayed worker catches up.
    """

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """Returns the number of events and appointments with mails that were due."""
        looked_at = 0
        while due := await self._due():
            for changed in due:
                await self._queue(changed)
            looked_at += len(due)
            self.wake_ups.notify()
        return looked_at

    async def _due(self) -> list[ChangedRef]:
        async with self.open_work() as work:
            return list(await work.change_mails.find_due(self.clock.now(), limit=AT_ONCE))

    async def _queue(self, changed: ChangedRef) -> None:
        async with self.open_work() as work:
            if isinstance(changed, int):
                await work.change_mails.queue_for_event(await work.events.get_including_deleted(EventId(changed)))
            else:
                await work.change_mails.queue_for_appointment(await work.appointments.get(changed))
            await work.commit()
