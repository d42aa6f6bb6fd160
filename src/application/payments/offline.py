"""Payments on site."""

from typing import ClassVar

from application.idempotency import SAYS_THE_SAME
from application.outbox.ports import WakeUps
from application.payments.payables import Payable, PayableBooking, lock_booking, lock_payable
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import User, UserId
from domain.bookings import BookingIsCancelled, BookingNotFound
from domain.errors import Errors
from domain.events import EventForbidden, EventId
from domain.ids import BookingId, BookingRef, PayableRef
from domain.payments import (
    OFFLINE,
    UNPAID,
    PaymentStatus,
)


@use_case
class RecordOfflinePayment:
    """Records that a booking was paid on site, as reported by the event's facilitator or a trusted service.

    - A payment that is reported twice is recorded once.
    - Raises `BookingIsCancelled` for a cancelled booking. A free booking stays as it is.
    - An open checkout of the booking is closed, so that it cannot be paid twice.
    """

    raises: ClassVar[Errors] = (BookingNotFound, EventForbidden, BookingIsCancelled)

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def by_service(self, booking_id: BookingId, *, user_id: UserId, event_id: EventId) -> PaymentStatus:
        """Raises `BookingNotFound` where user and event are not those of the booking."""
        async with self.open_work() as work:
            event, booking = await lock_booking(work, booking_id)
            if (booking.user_id, event.id) != (user_id, event_id):
                raise BookingNotFound
            payable = PayableBooking(work, event, booking, self.clock.now())
            status = await self._record(work, BookingRef(booking_id), payable)
            await work.commit(made=SAYS_THE_SAME)
        self.wake_ups.notify()
        return status

    async def by_facilitator(self, user: User, payable_ref: PayableRef) -> PaymentStatus:
        async with self.open_work() as work:
            payable = await lock_payable(work, payable_ref, self.clock.now(), by=user.id)
            payable.require_manager(user)
            status = await self._record(work, payable_ref, payable)
            await work.commit(made=SAYS_THE_SAME)
        self.wake_ups.notify()
        return status

    async def _record(self, work: UnitOfWork, payable_ref: PayableRef, payable: Payable) -> PaymentStatus:
        if payable.payment_status not in UNPAID:
            return payable.payment_status
        if payable.is_cancelled:
            raise BookingIsCancelled
        payment = await work.payments.get_for(payable_ref)
        now = self.clock.now()
        if payment.gateway == OFFLINE:
            await work.payments.save(payment.received(), received_at=now)
        else:
            await work.payments.add_paid_on_the_spot(payment, now)
            if payment.order_id is not None:
                await work.messages.enqueue_checkout_close(payment)
        await payable.pay(payment.price)
        return PaymentStatus.COMPLETED
