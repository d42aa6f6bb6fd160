"""Disputes of payments, inside a unit of work."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.disputes import Dispute, DisputeStatus
from domain.money import Money
from domain.payments import Payment, PaymentId
from infrastructure.postgres.payments.repository import run


class PostgresDisputes:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of(self, payment_id: PaymentId) -> Sequence[Dispute]:
        rows = await self._session.execute(
            text("SELECT * FROM disputes WHERE payment_id = :payment_id ORDER BY opened_at, id"),
            {"payment_id": payment_id},
        )
        return [
            Dispute(
                id=row["id"],
                amount=Money(row["amount"], row["currency"]),
                status=DisputeStatus(row["status"]),
                is_inquiry=row["is_inquiry"],
                reason=row["reason"],
            )
            for row in rows.mappings()
        ]

    async def save(self, payment: Payment, dispute: Dispute, now: datetime) -> None:
        await run(
            self._session,
            """INSERT INTO disputes (gateway, id, payment_id, amount, currency, status, is_inquiry, reason, opened_at,
                changed_at)
            VALUES (:gateway, :id, :payment_id, :amount, :currency, :status, :is_inquiry, :reason, :now, :now)
            ON CONFLICT (gateway, id) DO UPDATE SET amount = excluded.amount, currency = excluded.currency,
                status = excluded.status, is_inquiry = excluded.is_inquiry,
                reason = coalesce(excluded.reason, disputes.reason), changed_at = excluded.changed_at""",
            gateway=payment.gateway,
            id=dispute.id,
            payment_id=payment.id,
            amount=dispute.amount.amount,
            currency=dispute.amount.currency,
            status=dispute.status,
            is_inquiry=dispute.is_inquiry,
            reason=dispute.reason,
            now=now,
        )
