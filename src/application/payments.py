"""Money received."""

from dataclasses import dataclass

from application.ports.messaging import WakeUps
from application.ports.persistence import OpenUnitOfWork
from application.ports.system import Clock
from domain.bookings import BookingId, BookingIsCancelled, BookingNotFound, BookingStatus
from domain.events import EventId
from domain.messages import Fact
from domain.payments import PaymentStatus
from domain.users import UserId


@dataclass(frozen=True, slots=True)
class RecordOfflinePayment:
    """Records that a booking was paid on the spot, as a service that people trust reports it.

    - Reported twice it is recorded once.
    - The report names the booking, its user and its event; where they do not belong together there is no such booking.
    - A free place has nothing to pay, a cancelled one nothing any more.
    """

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, booking_id: BookingId, *, user_id: UserId, event_id: EventId) -> PaymentStatus:
        async with self.open_work() as work:
            booking = await work.bookings.get(booking_id)
            if (booking.user_id, booking.event_id) != (user_id, event_id):
                raise BookingNotFound
            if booking.payment_status in {PaymentStatus.COMPLETED, PaymentStatus.NOT_REQUIRED}:
                return booking.payment_status
            if booking.status is BookingStatus.CANCELLED:
                raise BookingIsCancelled
            await work.bookings.save(booking.paid())
            await work.payments.complete_offline(booking_id, self.clock.now())
            await work.messages.owe_for_booking(Fact.PAYMENT_COMPLETED, booking_id)
            await work.commit()
        self.wake_ups.nudge()
        return PaymentStatus.COMPLETED
