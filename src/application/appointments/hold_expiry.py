"""Expiry of appointments that are held for a payment."""

from application.appointments.ports import AppointmentQueries
from application.outbox.ports import WakeUps
from application.payments.payables import expire_appointment_hold
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.ids import AppointmentId, AppointmentRef


@use_case
class ExpireAppointmentHolds:
    """Cancels appointments whose payment did not arrive in time. Their time can be booked again immediately, the client
    and the coach receive an e-mail, and the checkout is closed. A payment that still arrives is settled as a late
    payment."""

    open_work: OpenUnitOfWork
    reader: AppointmentQueries
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """Returns how many holds expired; the next run continues."""
        due = await self.reader.expired_holds(self.clock.now(), limit=100)
        expired = [appointment_id for appointment_id in due if await self._expire(appointment_id)]
        if expired:
            self.wake_ups.notify()
        return len(expired)

    async def _expire(self, appointment_id: AppointmentId) -> bool:
        now = self.clock.now()
        async with self.open_work() as work:
            before = await work.appointments.get(appointment_id)
            if not before.has_expired(now):
                return False
            payment = await work.payments.find_for(AppointmentRef(appointment_id))
            await expire_appointment_hold(work, before, now)
            if payment is not None and payment.order_id is not None:
                await work.messages.enqueue_checkout_close(payment)
            await work.commit()
        return True
