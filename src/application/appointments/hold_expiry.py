"""Expiry of appointments that are held for a payment."""

from dataclasses import dataclass

from application.appointments.ports import CoachingReader
from application.outbox.ports import WakeUps
from application.payments.payables import expire_coaching_hold
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.appointments import (
    CoachingId,
)


@dataclass(frozen=True, slots=True)
class ExpireCoachingHolds:
    """Gives up the sessions whose payment did not come in time: cancelled, the time free at once, both people told, the
    checkout closed. Money that still comes is settled by the rules of a late payment."""

    open_work: OpenUnitOfWork
    reader: CoachingReader
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """How many; the rest is left for the next round."""
        due = await self.reader.expired_holds(self.clock.now(), limit=100)
        expired = [coaching_id for coaching_id in due if await self._expire(coaching_id)]
        if expired:
            self.wake_ups.nudge()
        return len(expired)

    async def _expire(self, coaching_id: CoachingId) -> bool:
        now = self.clock.now()
        async with self.open_work() as work:
            before = await work.coachings.get(coaching_id)
            if not before.has_expired(now):
                return False
            payment = await work.payments.find_of_booking(coaching_id)
            await expire_coaching_hold(work, before, now)
            if payment is not None and payment.order_id is not None:
                await work.messages.owe_checkout_end(payment)
            await work.commit()
        return True
