"""Refunds: requested in the transaction that causes them, sent to the gateway by the worker, never twice."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from application.idempotency import recorded_result
from application.outbox.ports import WakeUps
from application.payments.payables import enqueue_refunded, lock_booking, lock_payable
from application.payments.ports.gateways import Gateways, RefundRequest
from application.payments.ports.records import Refund
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import User, UserId
from domain.bookings import (
    Booking,
    BookingAlreadyCancelled,
    BookingForbidden,
    BookingNotFound,
    BookingOver,
    CancelReason,
)
from domain.disputes import DisputeStatus, PaymentChargedBack, PaymentDisputed
from domain.errors import Errors
from domain.events import Event, EventForbidden
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.payments import (
    OFFLINE,
    GatewayUnavailable,
    GatewayUpdate,
    NothingToRefund,
    Payment,
    PaymentUpdate,
    RefundExceedsPayment,
    RefundUpdate,
)
from domain.refunds import RefundId, RefundPolicy

AT_THE_GATEWAY = "at_the_gateway"
"""The reason of a refund that was made in the gateway's dashboard."""


class RefundOutcome(StrEnum):
    """The result of applying a gateway's update on a refund."""

    SETTLED = "refund_settled"
    RECORDED = "refunded_at_the_gateway"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


@use_case
class Refunds:
    """Requests refunds and records their results.

    - A refund is a row and an outbox message, written in the transaction that causes the refund.
    - A payment on site is returned by the facilitator: its refund counts as processed as soon as the worker runs it.
    - An unavailable gateway delays a refund. The refund's id is the idempotency key, so it is never paid twice.
    - A refund of a disputed payment waits until `SettleDispute` sends or ends it.
    """

    open_work: OpenUnitOfWork
    gateways: Gateways
    wake_ups: WakeUps
    clock: Clock

    async def request(
        self, work: UnitOfWork, payment: Payment, amount: Money, *, reason: str, by: UserId | None = None
    ) -> Refund:
        """`by`: the user who requested it; None where it follows from a rule."""
        refund = await work.refunds.add(payment, amount, reason=reason, by=by, now=self.clock.now())
        await work.payments.save(payment.with_refund(amount))
        return refund

    async def pay(self, refund_id: RefundId) -> str:
        """Sends a requested refund to its gateway; returns what was done. Raises `GatewayRefused`, `PaymentDisputed`,
        and `GatewayUnavailable` also while the gateway is still processing the refund: the worker retries, so that a
        lost webhook leaves no refund open."""
        async with self.open_work() as work:
            refund = await work.refunds.get(refund_id)
            payment = await work.payments.get(refund.payment_id)
        if not refund.is_open:
            return "refund settled before"
        if payment.refunds_wait and refund.gateway_refund_id is None:
            return "refund waits for a dispute"
        gateway_refund_id, settled = None, True
        if payment.gateway != OFFLINE:
            answer = await self.gateways.named(payment.gateway).refund(RefundRequest(refund.id, payment, refund.amount))
            gateway_refund_id, settled = answer.gateway_refund_id, answer.settled
        async with self.open_work() as work:
            await self._settle(work, refund.id, gateway_refund_id, succeeded=True if settled else None)
            await work.commit()
        self.wake_ups.notify()
        if not settled:
            raise GatewayUnavailable("The gateway has accepted the refund and is still working on it")
        return "refund handed in"

    async def settle_update(self, gateway: str, report: RefundUpdate) -> RefundOutcome:
        """Applies a gateway's update on a refund that was requested here or made in the gateway's dashboard. A refund
        that succeeded is announced to the client, the facilitator and the CRM."""
        async with self.open_work() as work:
            refund = await work.refunds.find(report)
            if refund is None:
                outcome = await self._record_external_refund(work, gateway, report)
            elif refund.ended_by is not None and report.succeeded:
                why = f"the gateway refunded {report.amount} ({report.gateway_refund_id}) after a lost dispute"
                outcome = await self._record_mismatch(work, await work.payments.get(refund.payment_id), why)
            else:
                await self._settle(work, refund.id, report.gateway_refund_id, succeeded=report.succeeded)
                outcome = RefundOutcome.SETTLED
            await work.commit()
        self.wake_ups.notify()
        return outcome

    async def _record_external_refund(self, work: UnitOfWork, gateway: str, report: RefundUpdate) -> RefundOutcome:
        """Records a refund that was made in the gateway's dashboard. The booking shows that it is refunded, whether all
        of the payment was refunded or a part. A refund that failed, or that exceeds what is left of the payment, is
        kept as a mismatch for an operator."""
        target = await work.payments.find_received(gateway, report.gateway_id)
        if target is None:
            return RefundOutcome.UNKNOWN
        now = self.clock.now()
        # What was paid for is locked before its payment, as in settlement.
        payable = await lock_payable(work, target.payable, now)
        payment = await work.payments.get(target.payment_id)
        if await work.refunds.find(report) is not None:
            return RefundOutcome.SETTLED  # a second delivery of this update was applied before the locks were taken
        if not report.succeeded or report.amount.amount > payment.refundable.amount:
            why = f"the gateway gave back {report.amount} ({report.gateway_refund_id}) that was not requested here"
            return await self._record_mismatch(work, payment, why)
        refund = await work.refunds.add_processed(
            payment, report.amount, report.gateway_refund_id, reason=AT_THE_GATEWAY, now=now
        )
        await work.payments.save(payment.with_refund(report.amount))
        await payable.show_refunded()
        await enqueue_refunded(work, refund.payable, reason=refund.reason, money=refund.amount)
        return RefundOutcome.RECORDED

    async def _record_mismatch(self, work: UnitOfWork, payment: Payment, why: str) -> RefundOutcome:
        mismatch = GatewayUpdate(payment.order_id or "", PaymentUpdate.RECEIVED, payment_id=payment.id)
        await work.payments.record_mismatch(payment.gateway, mismatch, payment.id, why)
        return RefundOutcome.DIFFERS

    async def _settle(
        self, work: UnitOfWork, refund_id: RefundId, gateway_refund_id: str | None, *, succeeded: bool | None
    ) -> None:
        refund = await work.refunds.get(refund_id)
        if not refund.can_become(succeeded):
            return
        await work.refunds.settle(refund, gateway_refund_id, succeeded=succeeded, now=self.clock.now())
        if succeeded:
            await enqueue_refunded(work, refund.payable, reason=refund.reason, money=refund.amount)


@use_case
class RefundBooking:
    """Refunds what was paid for a booking, or a part of it, at any time: before the event, and after it.

    - The event's facilitator and admins refund. Nothing is cancelled by it: the booking keeps its status and its seat.
    - All refunds of a payment together never exceed the payment, however many are requested concurrently.
    - Without an amount everything that is left is refunded.
    - A booking shows that it is refunded when nothing is left. The facilitator returns what was paid on site.
    - A disputed payment is not refunded until the dispute is won: the bank may return the same money.
    """

    raises: ClassVar[Errors] = (
        BookingNotFound,
        EventForbidden,
        PaymentDisputed,
        PaymentChargedBack,
        NothingToRefund,
        RefundExceedsPayment,
    )

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps

    async def __call__(self, user: User, booking_id: BookingId, amount: Decimal | None) -> Refund:
        if (made := recorded_result()) is not None:
            async with self.open_work() as work:
                return await work.refunds.get(RefundId(UUID(made)))
        async with self.open_work() as work:
            event, booking = await lock_booking(work, booking_id)
            event.require_manager(user)
            payment = await work.payments.find_for(BookingRef(booking_id))
            if payment is None:
                raise NothingToRefund
            back = payment.refund_of(amount)
            refund = await self.refunds.request(work, payment, back, reason=CancelReason.BY_ORGANISER, by=user.id)
            if back == payment.refundable:
                await work.bookings.save(booking.refunded())
            await work.commit(made=str(refund.id))
        self.wake_ups.notify()
        return refund


@dataclass(frozen=True, slots=True)
class CancellationTerms:
    """The refund of a cancellation at one moment: `percent` of what was paid and has no requested refund yet. While
    `dispute` is open, the refund is made after the dispute is won."""

    paid: Money
    percent: int
    refund: Money
    policy: RefundPolicy
    dispute: DisputeStatus | None


def cancellation_terms(
    event: Event, booking: Booking, payment: Payment | None, now: datetime, *, by: UserId
) -> CancellationTerms:
    starts_at = event.details.interval.starts_at
    paid = payment.refundable if payment else Money(Decimal(0), booking.price.currency)
    policy = booking.policy_of_cancellation(event, by)
    return CancellationTerms(
        paid=paid,
        percent=policy.percent(now=now, starts_at=starts_at),
        refund=policy.refund_of(paid, now=now, starts_at=starts_at),
        policy=policy,
        dispute=payment.dispute if payment else None,
    )


@use_case
class ShowCancellation:
    """Shows the refund of a cancellation at this moment, by the refund policy stored with the booking. Raises the same
    errors as the cancellation itself."""

    raises: ClassVar[Errors] = (BookingNotFound, BookingForbidden, BookingAlreadyCancelled, BookingOver)

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, user: User, booking_id: BookingId) -> CancellationTerms:
        now = self.clock.now()
        async with self.open_work() as work:
            event, booking = await lock_booking(work, booking_id)
            booking.require_owner(user)
            booking.cancelled(now, event_starts_at=event.details.interval.starts_at, by=user.id)
            payment = await work.payments.find_for(BookingRef(booking_id))
            return cancellation_terms(event, booking, payment, now, by=user.id)
