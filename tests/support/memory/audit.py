"""Queries in memory for the comparison of payments with the gateways."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from application.payments.ports.reconciliation import BookedPayment, DeadJob, RecordedMismatch, StuckRefund
from application.ports import Clock, Page, PageRequest
from domain.disputes import DisputeStatus
from domain.ids import BookingRef, PayableRef
from domain.money import Money
from domain.outbox import Destination, MessageStatus
from domain.payments import OFFLINE, PaymentId, PaymentNotFound, PaymentStatus
from infrastructure.postgres.pages import cursor_of, uuid_after
from tests.support.memory.rows import StoredPayment, booking_in, messages_in, payments_in, refunds_in
from tests.support.memory.store import Store


class MemoryPaymentAudit:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def payments(
        self, *, since: datetime | None, after: PaymentId | None, limit: int, at_gateways: bool
    ) -> Sequence[BookedPayment]:
        rows = [
            row
            for row in payments_in(self._store.tables)
            if (since is None or row.created_at >= since)
            and (after is None or row.payment.id > after)
            and (not at_gateways or (row.payment.order_id is not None and row.payment.gateway != OFFLINE))
        ]
        return [self._booked(row) for row in rows[:limit]]

    async def get(self, payment_id: PaymentId) -> BookedPayment:
        row = self._store.tables.of("payments").get(payment_id)
        if row is None:
            raise PaymentNotFound
        return self._booked(row)

    async def newest(
        self, *, status: PaymentStatus | None, page: PageRequest, dispute: DisputeStatus | None = None
    ) -> Page[BookedPayment]:
        before = uuid_after(page.after)
        rows = [
            row
            for row in reversed(payments_in(self._store.tables))
            if status in {None, row.payment.status}
            and dispute in {None, row.payment.dispute}
            and (before is None or row.payment.id < before)
        ]
        booked = [self._booked(row) for row in rows[: page.limit]]
        return Page(booked, cursor_of(booked[-1].payment.id) if len(rows) > page.limit else None)

    async def mismatches(self, *, since: datetime | None) -> Sequence[RecordedMismatch]:
        rows = enumerate(self._store.tables.of("mismatches").values(), 1)
        return [RecordedMismatch(number, row.gateway, row.order_id, row.why, self._clock.now()) for number, row in rows]

    async def stuck_refunds(self, *, since: datetime | None, older_than: timedelta) -> Sequence[StuckRefund]:
        long_ago = self._clock.now() - older_than
        return [
            StuckRefund(
                id=row.refund.id,
                reference=self._reference(row.refund.payable),
                gateway=row.refund.gateway,
                amount=row.refund.amount,
                requested_at=row.requested_at,
                failed=row.refund.succeeded is False,
            )
            for row in sorted(refunds_in(self._store.tables), key=lambda row: row.requested_at)
            if (
                (row.refund.succeeded is False and row.refund.ended_by is None)
                or (row.refund.is_open and row.requested_at < long_ago)
            )
            and (since is None or row.requested_at >= since)
        ]

    async def dead_jobs(self, *, since: datetime | None) -> Sequence[DeadJob]:
        return [
            DeadJob(row.id, row.message_type, row.ordering_key, row.last_error)
            for row in messages_in(self._store.tables)
            if (row.status, row.destination) == (MessageStatus.DEAD, Destination.PAYMENTS)
            and (since is None or row.occurred_at >= since)
        ]

    def _booked(self, row: StoredPayment) -> BookedPayment:
        processed = [
            each.refund.amount.amount
            for each in refunds_in(self._store.tables)
            if each.refund.payment_id == row.payment.id and each.refund.succeeded
        ]
        given_back = Money(sum(processed, Decimal(0)), row.payment.price.currency)
        return BookedPayment(row.payment, self._reference(row.payment.payable), row.created_at, given_back)

    def _reference(self, payable: PayableRef) -> str:
        if isinstance(payable, BookingRef):
            return booking_in(self._store.tables, payable.id).reference
        return str(payable.id)
