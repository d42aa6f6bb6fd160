"""Settlement: applies what a gateway reports to the payment and its booking."""

from datetime import datetime
from enum import StrEnum

from application.idempotency import SAYS_THE_SAME
from application.outbox.ports import WakeUps
from application.payments.payables import Payable, lock_payable
from application.payments.ports.records import PaymentTarget
from application.payments.refunds import Refunds
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.payments import (
    UNPAID,
    GatewayUpdate,
    Payment,
    PaymentStatus,
    PaymentUpdate,
)
from domain.refunds import PAID_TWICE


class Settled(StrEnum):
    """The result of applying a gateway's update on a payment."""

    RECEIVED = "received"
    REINSTATED = "reinstated"
    GIVEN_BACK = "given_back"
    FAILED = "failed"
    NO_CHANGE = "old_news"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


@use_case
class SettlePayment:
    """Applies a gateway's update on a payment.

    - A payment only moves forward: a received payment is final, a failed one can still be received.
    - Amount, currency and order must be those requested. A mismatch is stored for an operator and changes nothing.
    - A payment that arrives after its hold expired reserves the seat or the time again if it is free; otherwise it is
      refunded.
    - A payment that arrives after the start is refunded, and the hold ends.
    - A second payment for a booking that is already paid is refunded.
    - A failed attempt to pay releases no seat; the seat is released when the hold expires.
    """

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, gateway: str, report: GatewayUpdate, *, arrived_at: datetime | None = None) -> Settled:
        """`arrived_at`: when the update arrived, where that was earlier. Without it, the arrival of the first stored
        webhook about the same payment counts that is not applied yet."""
        async with self.open_work() as work:
            settled = await self._settle(work, gateway, report, arrived_at)
            await work.commit(made=SAYS_THE_SAME)
        self.wake_ups.notify()
        return settled

    async def _settle(
        self, work: UnitOfWork, gateway: str, report: GatewayUpdate, arrived_at: datetime | None
    ) -> Settled:
        place = await work.payments.find_payable(gateway, report)
        if place is None:
            await work.payments.record_mismatch(gateway, report, None, "no payment of ours has this order")
            return Settled.UNKNOWN
        if arrived_at is None and report.report is PaymentUpdate.RECEIVED:
            arrived_at = await work.gateway_events.first_arrival(gateway, report.order_id, place.payment_id)
        payable = await self._lock(work, place, arrived_at)
        payment = await work.payments.get(place.payment_id)
        why = report.mismatch_with(payment)
        if why is not None:
            await work.payments.record_mismatch(gateway, report, payment.id, why)
            return Settled.DIFFERS
        match report.report:
            case PaymentUpdate.RECEIVED if payment.can_become(PaymentStatus.COMPLETED):
                return await self._receive(work, payable, payment, report)
            case PaymentUpdate.FAILED if payment.can_become(PaymentStatus.FAILED):
                await work.payments.save(payment.failed())
                await payable.fail(payment.price)
                return Settled.FAILED
        return Settled.NO_CHANGE

    async def _lock(self, work: UnitOfWork, place: PaymentTarget, arrived_at: datetime | None) -> Payable:
        return await lock_payable(work, place.payable, self.clock.now(), arrived_at=arrived_at)

    async def _receive(self, work: UnitOfWork, payable: Payable, payment: Payment, report: GatewayUpdate) -> Settled:
        payment = payment.received(order_id=report.order_id, gateway_id=report.gateway_id)
        await work.payments.save(payment, received_at=self.clock.now())
        await self._apply_disputes(work, payment)
        if payable.payment_status not in UNPAID:
            await self.refunds.request(work, payment, payment.price, reason=PAID_TWICE)
            return Settled.GIVEN_BACK
        if not payable.is_cancelled and not payable.has_started:
            await payable.pay(payment.price)
            return Settled.RECEIVED
        if payable.is_cancelled and await payable.reinstate(payment.price):
            return Settled.REINSTATED
        await self.refunds.request(work, payment, payment.price, reason=payable.refund_reason)
        await payable.give_back()
        return Settled.GIVEN_BACK

    async def _apply_disputes(self, work: UnitOfWork, payment: Payment) -> None:
        """Enqueues the webhooks about disputes of the payment that arrived before it."""
        if payment.gateway_id is None:
            return
        await work.gateway_events.lock_payment(payment.gateway, payment.gateway_id)
        for event_id in await work.gateway_events.waiting_for(payment.gateway, payment.gateway_id):
            await work.messages.enqueue_webhook(payment.gateway, event_id)
