"""Refunds, inside a unit of work."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from application.payments.ports.records import Refund
from domain.accounts import UserId
from domain.audit import AuditTrail
from domain.audit_effects import record_refund, record_refunds_of_event
from domain.events import EventId
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.payments import Payment, PaymentId, PaymentNotFound, RefundUpdate
from domain.refunds import RefundId
from infrastructure.postgres.outbox.writer import PostgresMessages
from infrastructure.postgres.payments.repository import first, payable_of, run

_REFUND = """SELECT r.*, p.booking_id, p.coaching_booking_id, p.gateway
FROM refunds r JOIN payments p ON p.id = r.payment_id"""

_SUCCEEDED = {"pending": None, "processed": True, "failed": False}


class PostgresRefunds:
    """A requested refund is added with the job that sends it to the gateway."""

    def __init__(self, session: AsyncSession, messages: PostgresMessages, audit: AuditTrail) -> None:
        self._session = session
        self._messages = messages
        self._audit = audit
        self._requested: list[Refund] = []

    @property
    def requested(self) -> Sequence[Refund]:
        return self._requested

    async def add(self, payment: Payment, amount: Money, *, reason: str, by: UserId | None, now: datetime) -> Refund:
        refund = await self._add(payment, amount, "pending", reason=reason, by=by, now=now)
        self._requested.append(refund)
        if not payment.refunds_wait:
            await self.release([refund])
        return refund

    async def add_processed(
        self, payment: Payment, amount: Money, gateway_refund_id: str | None, *, reason: str, now: datetime
    ) -> Refund:
        values = {"gateway_refund_id": gateway_refund_id, "settled_at": now}
        return await self._add(payment, amount, "processed", reason=reason, now=now, **values)

    async def _add(self, payment: Payment, amount: Money, status: str, *, reason: str, **values: Any) -> Refund:
        row = await first(
            self._session,
            """INSERT INTO refunds (payment_id, amount, currency, reason, status, requested_at, requested_by,
                gateway_refund_id, settled_at)
            VALUES (:payment_id, :amount, :currency, :reason, :status, :now, :by, :gateway_refund_id, :settled_at)
            RETURNING id""",
            payment_id=payment.id,
            amount=amount.amount,
            currency=amount.currency,
            reason=reason,
            status=status,
            **{"by": None, "gateway_refund_id": None, "settled_at": None} | values,
        )
        assert row is not None
        refund_id, succeeded = RefundId(row["id"]), _SUCCEEDED[status]
        known = values.get("gateway_refund_id")
        record_refund(self._audit, payment.id, refund_id, amount, reason, at_gateway=status == "processed")
        return Refund(refund_id, payment.id, payment.payable, payment.gateway, amount, reason, succeeded, known)

    async def add_for_event(
        self, event_id: EventId, *, reason: str, by: UserId | None, now: datetime
    ) -> Sequence[BookingId]:
        """Requests a full refund of every payment received for the event; returns the bookings that are refunded."""
        rows = await self._session.execute(
            text(
                """WITH paid AS (
                    SELECT p.id, p.booking_id, p.gateway, p.amount - p.refunded - p.charged_back AS amount,
                           p.currency, p.refunds_wait
                    FROM payments p JOIN bookings b ON b.id = p.booking_id
                    WHERE b.event_id = :event_id AND b.status = 'confirmed' AND p.status = 'completed'
                    ORDER BY p.booking_id FOR UPDATE OF p
                ), requested AS (
                    UPDATE payments SET status = 'refunded', refunded = payments.amount - payments.charged_back
                    FROM paid WHERE payments.id = paid.id
                ), added AS (
                    INSERT INTO refunds (payment_id, amount, currency, reason, status, requested_at, requested_by)
                    SELECT id, amount, currency, :reason, 'pending', :now, :by FROM paid
                    RETURNING *
                )
                SELECT added.*, paid.booking_id, NULL AS coaching_booking_id, paid.gateway, paid.refunds_wait
                FROM added JOIN paid ON paid.id = added.payment_id"""
            ),
            {"event_id": event_id, "reason": reason, "by": by, "now": now},
        )
        found = [(_refund(row), row["refunds_wait"]) for row in rows.mappings()]
        self._requested += [refund for refund, _ in found]
        record_refunds_of_event(self._audit, event_id, [refund.amount for refund, _ in found])
        await self.release([refund for refund, waits in found if not waits])
        return [refund.payable.id for refund, _ in found if isinstance(refund.payable, BookingRef)]

    async def get(self, refund_id: RefundId) -> Refund:
        row = await first(self._session, f"{_REFUND} WHERE r.id = :id FOR UPDATE OF r", id=refund_id)
        if row is None:
            raise PaymentNotFound
        return _refund(row)

    async def find(self, report: RefundUpdate) -> Refund | None:
        row = await first(
            self._session,
            f"{_REFUND} WHERE r.id = CAST(:id AS uuid) OR r.gateway_refund_id = :gateway_refund_id",
            id=report.refund_id,
            gateway_refund_id=report.gateway_refund_id,
        )
        return _refund(row) if row else None

    async def settle(
        self, refund: Refund, gateway_refund_id: str | None, *, succeeded: bool | None, now: datetime
    ) -> None:
        status = next(status for status, outcome in _SUCCEEDED.items() if outcome is succeeded)
        await run(
            self._session,
            """UPDATE refunds SET status = CAST(:status AS text),
                gateway_refund_id = coalesce(:gateway_refund_id, gateway_refund_id),
                settled_at = CASE WHEN CAST(:status AS text) = 'pending' THEN NULL ELSE CAST(:now AS timestamptz) END
            WHERE id = :id""",
            id=refund.id,
            status=status,
            gateway_refund_id=gateway_refund_id,
            now=now,
        )

    async def waiting(self, payment_id: PaymentId) -> Sequence[Refund]:
        which = "r.payment_id = :payment_id AND r.status = 'pending' AND r.gateway_refund_id IS NULL"
        statement = text(f"{_REFUND} WHERE {which} ORDER BY r.id FOR UPDATE OF r")
        return [_refund(row) for row in (await self._session.execute(statement, {"payment_id": payment_id})).mappings()]

    async def release(self, refunds: Sequence[Refund]) -> None:
        await self._messages.enqueue_refunds(refunds)

    async def end_by_dispute(self, refund: Refund, dispute_id: str, now: datetime) -> None:
        await run(
            self._session,
            "UPDATE refunds SET status = 'failed', ended_by = :dispute_id, settled_at = :now WHERE id = :id",
            id=refund.id,
            dispute_id=dispute_id,
            now=now,
        )


def _refund(row: RowMapping) -> Refund:
    return Refund(
        id=RefundId(row["id"]),
        payment_id=PaymentId(row["payment_id"]),
        payable=payable_of(row),
        gateway=row["gateway"],
        amount=Money(row["amount"], row["currency"]),
        reason=row["reason"],
        succeeded=_SUCCEEDED[row["status"]],
        gateway_refund_id=row["gateway_refund_id"],
        ended_by=row["ended_by"],
    )
