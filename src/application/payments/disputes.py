"""Disputes: applies what a gateway reports about a dispute to the payment, its booking and its refunds."""

from dataclasses import replace
from decimal import Decimal
from enum import StrEnum

from application.outbox.ports import WakeUps
from application.payments.payables import lock_payable
from application.payments.ports.gateways import Gateways
from application.payments.ports.records import PaymentTarget, Refund
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.disputes import Dispute
from domain.money import Money
from domain.payments import DisputeUpdate, GatewayUpdate, Payment, PaymentStatus, PaymentUpdate
from domain.refunds import RefundId


class DisputeOutcome(StrEnum):
    """The result of applying a gateway's update on a dispute."""

    RECORDED = "dispute_recorded"
    NO_CHANGE = "old_news"
    DIFFERS = "differs"
    WAITS = "waits_for_payment"
    """No payment of ours has this id. The webhook stays in the inbox and is applied when the payment is received."""


@use_case
class SettleDispute:
    """Applies a gateway's update on a dispute.

    - A dispute only moves forward, from open to won or lost. A later report of an earlier state changes nothing; the
      other result for a decided dispute is kept as a mismatch for an operator.
    - The booking shows the dispute, and the facilitator and the CRM are notified, in the same transaction.
    - Refunds that are not at the gateway yet wait while a dispute is open. Once it is won they are sent. What a lost
      dispute took back counts as returned, and refunds are made of the rest only.
    """

    open_work: OpenUnitOfWork
    gateways: Gateways
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, gateway: str, update: DisputeUpdate) -> DisputeOutcome:
        async with self.open_work() as work:
            outcome = await self._settle(work, gateway, update)
            await work.commit()
        self.wake_ups.notify()
        return outcome

    async def look_up(self, refund_id: RefundId) -> None:
        """For a refund that the gateway refuses because of a dispute: applies the gateway's record of the payment's
        disputes, whose webhooks may be late or lost."""
        async with self.open_work() as work:
            refund = await work.refunds.get(refund_id)
            payment = await work.payments.get(refund.payment_id)
        entry = await self.gateways.named(payment.gateway).look_up(payment)
        for dispute in entry.disputes:
            await self(payment.gateway, DisputeUpdate(dispute, payment.gateway_id or ""))

    async def _settle(self, work: UnitOfWork, gateway: str, update: DisputeUpdate) -> DisputeOutcome:
        target = await work.payments.find_received(gateway, update.gateway_id)
        if target is None:
            # Either this look-up finds a payment that is received meanwhile, or its receipt finds this webhook.
            await work.gateway_events.lock_payment(gateway, update.gateway_id)
            target = await work.payments.find_received(gateway, update.gateway_id)
        if target is None:
            return DisputeOutcome.WAITS
        return await self._apply(work, target, update.dispute)

    async def _apply(self, work: UnitOfWork, target: PaymentTarget, report: Dispute) -> DisputeOutcome:
        payable = await lock_payable(work, target.payable, self.clock.now())
        before = await work.payments.get(target.payment_id)
        known = {dispute.id: dispute for dispute in await work.disputes.of(before.id)}
        dispute: Dispute | None = report
        if report.id in known:
            dispute = known[report.id].after(report)
            if known[report.id].contradicts(report):
                why = f"the dispute {report.id} is {report.status} at the gateway, {known[report.id].status} here"
                await _record_mismatch(work, before, why)
                return DisputeOutcome.DIFFERS
        if dispute is None:
            return DisputeOutcome.NO_CHANGE
        await work.disputes.save(before, dispute, self.clock.now())
        disputes = list((known | {dispute.id: dispute}).values())
        payment = before.with_disputes(disputes)
        if not payment.refunds_wait:
            payment = await self._settle_refunds(work, payment, report)
        if payment.returned > payment.price.amount or dispute.amount.currency != payment.price.currency:
            back = f"{Money(payment.refunded.amount, payment.price.currency)} in refunds"
            why = f"the dispute {dispute.id} about {dispute.amount} is {dispute.status}, after {back}"
            await _record_mismatch(work, payment, why)
        await work.payments.save(payment)
        is_returned = payment.status is PaymentStatus.REFUNDED and before.status is not PaymentStatus.REFUNDED
        await payable.show_dispute(dispute, of_payment=payment.dispute, is_returned=is_returned)
        return DisputeOutcome.RECORDED

    async def _settle_refunds(self, work: UnitOfWork, payment: Payment, by: Dispute) -> Payment:
        """Sends the refunds that have waited, as far as the dispute left the money."""
        waiting = await work.refunds.waiting(payment.id)
        left = payment.price.amount - payment.returned + sum(refund.amount.amount for refund in waiting)
        released: list[Refund] = []
        for refund in waiting:
            amount = replace(refund.amount, amount=min(max(left, Decimal(0)), refund.amount.amount))
            left -= amount.amount
            if amount == refund.amount:
                released.append(refund)
                continue
            payment = payment.without_refund(refund.amount)
            await work.refunds.end_by_dispute(refund, by.id, self.clock.now())
            if not amount.is_zero:
                payment = payment.with_refund(amount)
                await work.refunds.add(payment, amount, reason=refund.reason, by=None, now=self.clock.now())
        await work.refunds.release(released)
        return payment


async def _record_mismatch(work: UnitOfWork, payment: Payment, why: str) -> None:
    update = GatewayUpdate(payment.order_id, PaymentUpdate.RECEIVED, payment_id=payment.id)
    await work.payments.record_mismatch(payment.gateway, update, payment.id, why)
