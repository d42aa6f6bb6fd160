"""Expiry of seats that are held for a payment."""

from application.outbox.ports import WakeUps
from application.payments.payables import expire_hold, lock_booking
from application.payments.ports.records import PaymentQueries
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.ids import BookingId, BookingRef

AT_ONCE = 100


@use_case
class ExpireHolds:
    """Releases the seats whose payment did not arrive in time.

    - The booking is cancelled, the seat is released, and the client is notified.
    - The checkout is closed at the gateway. A payment that still arrives is settled as a late payment.
    """

    open_work: OpenUnitOfWork
    payments: PaymentQueries
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """Returns how many holds expired, at most `AT_ONCE`; the next run continues."""
        due = await self.payments.expired_holds(self.clock.now(), limit=AT_ONCE)
        expired = [booking_id for booking_id in due if await self._expire(booking_id)]
        if expired:
            self.wake_ups.notify()
        return len(expired)

    async def _expire(self, booking_id: BookingId) -> bool:
        now = self.clock.now()
        async with self.open_work() as work:
            _, booking = await lock_booking(work, booking_id)
            if not booking.has_expired(now):
                return False
            payment = await work.payments.find_for(BookingRef(booking_id))
            await expire_hold(work, booking, now)
            if payment is not None and payment.order_id is not None:
                await work.messages.enqueue_checkout_close(payment)
            await work.commit()
        return True
