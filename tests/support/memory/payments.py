"""Payments, refunds and the webhook inbox in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from application.payments.ports.gateways import GatewayEvent
from application.payments.ports.records import PaymentTarget, Refund, StoredUpdate
from domain.accounts import UserId
from domain.appointments import Appointment
from domain.audit import AuditTrail
from domain.audit_effects import record_refund, record_refunds_of_event
from domain.bookings import BookingStatus
from domain.disputes import Dispute
from domain.events import EventId
from domain.ids import AppointmentRef, BookingId, BookingRef, PayableRef
from domain.money import Money
from domain.payments import (
    OFFLINE,
    DisputeUpdate,
    GatewayUpdate,
    Payment,
    PaymentId,
    PaymentNotFound,
    PaymentStatus,
    PaymentUpdate,
    RefundUpdate,
)
from domain.refunds import RefundId
from tests.support.memory.outbox import MemoryMessages
from tests.support.memory.rows import (
    ConstraintViolated,
    StoredDispute,
    StoredMismatch,
    StoredPayment,
    StoredRefund,
    StoredWebhook,
    bookings_of,
    payments_in,
    payments_of,
    refunds_in,
)
from tests.support.memory.store import Transaction


def add_payment(
    transaction: Transaction,
    payable: PayableRef,
    gateway: str,
    price: Money,
    now: datetime,
    *,
    status: PaymentStatus = PaymentStatus.PENDING,
    received_at: datetime | None = None,
) -> Payment:
    if price.is_zero:
        raise ConstraintViolated("the amount of a payment is greater than 0")
    payment = Payment(
        id=PaymentId(_new_id(transaction, "payments")),
        payable=payable,
        gateway=gateway,
        price=price,
        status=status,
        order_id=None,
        gateway_id=None,
        refunded=Money(price.amount * 0, price.currency),
    )
    transaction.tables.of("payments")[payment.id] = StoredPayment(payment, now, received_at)
    return payment


def save_payment(transaction: Transaction, row: StoredPayment) -> None:
    payment = row.payment
    if payment.refunded.amount > payment.price.amount:
        raise ConstraintViolated("refunded BETWEEN 0 AND amount")
    for other in payments_in(transaction.tables):
        same_order = (other.payment.gateway, other.payment.order_id) == (payment.gateway, payment.order_id)
        if same_order and payment.order_id is not None and other.payment.id != payment.id:
            raise ConstraintViolated("uq_payments_order")
    transaction.tables.of("payments")[payment.id] = row


def _new_id(transaction: Transaction, table: str) -> UUID:
    """Later ids are greater, as with UUIDs of version 7. No refund has the id of a payment."""
    number = transaction.store.next_id(table)
    return UUID(int=number if table == "payments" else number + 2**64)


class MemoryPayments:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def _rows(self) -> list[StoredPayment]:
        return payments_in(self._transaction.tables)

    async def find_payable(self, gateway: str, report: GatewayUpdate) -> PaymentTarget | None:
        own = [row.payment for row in self._rows() if row.payment.gateway == gateway]
        by_order = [payment for payment in own if report.order_id and payment.order_id == report.order_id]
        by_id = [payment for payment in own if payment.id == report.payment_id]
        return next((PaymentTarget(payment.id, payment.payable) for payment in by_order + by_id), None)

    async def find_received(self, gateway: str, gateway_id: str) -> PaymentTarget | None:
        own = [row.payment for row in self._rows() if row.payment.gateway == gateway]
        found = (payment for payment in own if payment.gateway_id == gateway_id)
        return next((PaymentTarget(payment.id, payment.payable) for payment in found), None)

    async def get(self, payment_id: PaymentId) -> Payment:
        return self._row(payment_id).payment

    async def get_for(self, payable: PayableRef) -> Payment:
        payment = await self.find_for(payable)
        if payment is None:
            raise PaymentNotFound
        return payment

    async def find_for(self, payable: PayableRef) -> Payment | None:
        rows = payments_of(self._transaction.tables, payable)
        return rows[-1].payment if rows else None

    async def add_for_appointments(self, appointments: Sequence[Appointment], gateway: str, now: datetime) -> None:
        for appointment in appointments:
            add_payment(self._transaction, AppointmentRef(appointment.id), gateway, appointment.price, now)

    async def save(self, payment: Payment, *, received_at: datetime | None = None) -> None:
        row = self._row(payment.id)
        changed = replace(
            row.payment,
            status=payment.status,
            order_id=payment.order_id,
            gateway_id=payment.gateway_id,
            refunded=payment.refunded,
            dispute=payment.dispute,
            charged_back=payment.charged_back,
            refunds_wait=payment.refunds_wait,
        )
        save_payment(self._transaction, replace(row, payment=changed, received_at=received_at or row.received_at))

    async def add_paid_on_the_spot(self, payment: Payment, now: datetime) -> None:
        add_payment(
            self._transaction,
            payment.payable,
            OFFLINE,
            payment.price,
            now,
            status=PaymentStatus.COMPLETED,
            received_at=now,
        )

    async def record_mismatch(
        self, gateway: str, report: GatewayUpdate, payment_id: PaymentId | None, why: str
    ) -> None:
        row = StoredMismatch(gateway, report.order_id or "", why, payment_id, report)
        self._transaction.tables.of("mismatches").setdefault((gateway, row.order_id, why), row)

    def _row(self, payment_id: PaymentId) -> StoredPayment:
        row: StoredPayment | None = self._transaction.tables.of("payments").get(payment_id)
        if row is None:
            raise PaymentNotFound
        return row


class MemoryRefunds:
    def __init__(self, transaction: Transaction, messages: MemoryMessages, audit: AuditTrail) -> None:
        self._transaction = transaction
        self._messages = messages
        self._audit = audit
        self._requested: list[Refund] = []

    @property
    def requested(self) -> Sequence[Refund]:
        return self._requested

    async def add(self, payment: Payment, amount: Money, *, reason: str, by: UserId | None, now: datetime) -> Refund:
        refund = await self._request(payment, amount, reason=reason, by=by, now=now)
        record_refund(self._audit, payment.id, refund.id, amount, reason, at_gateway=False)
        return refund

    async def _request(
        self, payment: Payment, amount: Money, *, reason: str, by: UserId | None, now: datetime
    ) -> Refund:
        refund = self._add(payment, amount, None, reason=reason, by=by, now=now)
        self._requested.append(refund)
        if not payment.refunds_wait:
            await self.release([refund])
        return refund

    async def add_processed(
        self, payment: Payment, amount: Money, gateway_refund_id: str | None, *, reason: str, now: datetime
    ) -> Refund:
        values = {"gateway_refund_id": gateway_refund_id, "settled_at": now}
        refund = self._add(payment, amount, True, reason=reason, by=None, now=now, **values)
        record_refund(self._audit, payment.id, refund.id, amount, reason, at_gateway=True)
        return refund

    def _add(
        self,
        payment: Payment,
        amount: Money,
        succeeded: bool | None,
        *,
        reason: str,
        by: UserId | None,
        now: datetime,
        **values: Any,
    ) -> Refund:
        if amount.is_zero:
            raise ConstraintViolated("the amount of a refund is greater than 0")
        refund_id = RefundId(_new_id(self._transaction, "refunds"))
        refund = Refund(refund_id, payment.id, payment.payable, payment.gateway, amount, reason, succeeded)
        refund = replace(refund, gateway_refund_id=values.pop("gateway_refund_id", None))
        self._save(StoredRefund(refund, now, by, **values))
        return refund

    def _save(self, row: StoredRefund) -> None:
        known = row.refund.gateway_refund_id
        for other in refunds_in(self._transaction.tables):
            same = known is not None and other.refund.gateway_refund_id == known
            if same and other.refund.id != row.refund.id:
                raise ConstraintViolated("gateway_refund_id is unique")
        self._transaction.tables.of("refunds")[row.refund.id] = row

    async def add_for_event(
        self, event_id: EventId, *, reason: str, by: UserId | None, now: datetime
    ) -> Sequence[BookingId]:
        """Requests a full refund of every payment received for the event; returns the bookings that are refunded."""
        tables, refunded, amounts = self._transaction.tables, [], list[Money]()
        for booking in bookings_of(tables, event_id):
            if booking.status is not BookingStatus.CONFIRMED:
                continue
            for row in payments_of(tables, BookingRef(booking.id)):
                payment = row.payment
                if payment.status is PaymentStatus.COMPLETED:
                    save_payment(self._transaction, replace(row, payment=payment.with_refund(payment.refundable)))
                    await self._request(payment, payment.refundable, reason=reason, by=by, now=now)
                    amounts.append(payment.refundable)
                    refunded.append(booking.id)
        record_refunds_of_event(self._audit, event_id, amounts)
        return refunded

    async def get(self, refund_id: RefundId) -> Refund:
        return self._row(refund_id).refund

    def _row(self, refund_id: UUID) -> StoredRefund:
        row: StoredRefund | None = self._transaction.tables.of("refunds").get(refund_id)
        if row is None:
            raise PaymentNotFound
        return row

    async def find(self, report: RefundUpdate) -> Refund | None:
        for row in refunds_in(self._transaction.tables):
            if row.refund.id == report.refund_id or row.refund.gateway_refund_id == report.gateway_refund_id:
                return row.refund
        return None

    async def settle(
        self, refund: Refund, gateway_refund_id: str | None, *, succeeded: bool | None, now: datetime
    ) -> None:
        row = self._row(refund.id)
        known = gateway_refund_id or row.refund.gateway_refund_id
        settled = replace(row.refund, succeeded=succeeded, gateway_refund_id=known)
        self._save(replace(row, refund=settled, settled_at=None if succeeded is None else now))

    async def waiting(self, payment_id: PaymentId) -> Sequence[Refund]:
        refunds = [row.refund for row in refunds_in(self._transaction.tables)]
        return [
            each
            for each in refunds
            if (each.payment_id, each.succeeded, each.gateway_refund_id) == (payment_id, None, None)
        ]

    async def release(self, refunds: Sequence[Refund]) -> None:
        await self._messages.enqueue_refunds(refunds)

    async def end_by_dispute(self, refund: Refund, dispute_id: str, now: datetime) -> None:
        row = self._row(refund.id)
        self._save(replace(row, refund=replace(row.refund, succeeded=False, ended_by=dispute_id), settled_at=now))


class MemoryDisputes:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def of(self, payment_id: PaymentId) -> Sequence[Dispute]:
        rows = self._transaction.tables.of("disputes").values()
        return [row.dispute for row in rows if row.payment_id == payment_id]

    async def save(self, payment: Payment, dispute: Dispute, now: datetime) -> None:
        row = StoredDispute(payment.id, dispute, now)
        self._transaction.tables.of("disputes")[payment.gateway, dispute.id] = row


class MemoryGatewayEvents:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, gateway: str, event: GatewayEvent, now: datetime) -> bool:
        rows = self._transaction.tables.of("gateway_events")
        if (gateway, event.id) in rows:
            return False
        rows[gateway, event.id] = StoredWebhook(event.report, now)
        return True

    async def report(self, gateway: str, event_id: str) -> tuple[StoredUpdate | None, datetime]:
        row = self._transaction.tables.of("gateway_events")[gateway, event_id]
        return row.report, row.received_at

    async def first_arrival(self, gateway: str, order_id: str | None, payment_id: PaymentId) -> datetime | None:
        arrivals = [
            row.received_at
            for (name, _), row in self._transaction.tables.of("gateway_events").items()
            if name == gateway
            and row.settled_at is None
            and isinstance(row.report, GatewayUpdate)
            and row.report.report is PaymentUpdate.RECEIVED
            and (row.report.payment_id == payment_id or (order_id is not None and row.report.order_id == order_id))
        ]
        return min(arrivals, default=None)

    async def lock_payment(self, gateway: str, gateway_id: str) -> None:
        """Transactions in memory run one after the other."""

    async def waiting_for(self, gateway: str, gateway_id: str) -> Sequence[str]:
        return [
            event_id
            for (name, event_id), row in self._transaction.tables.of("gateway_events").items()
            if name == gateway
            and row.settled_at is None
            and isinstance(row.report, DisputeUpdate)
            and row.report.gateway_id == gateway_id
        ]

    async def record_result(self, gateway: str, event_id: str, outcome: str, now: datetime) -> None:
        rows = self._transaction.tables.of("gateway_events")
        rows[gateway, event_id] = replace(rows[gateway, event_id], outcome=outcome, settled_at=now)
