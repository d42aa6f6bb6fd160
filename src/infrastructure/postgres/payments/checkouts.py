"""Checkouts of payments: their addresses and return addresses."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from domain.ids import AppointmentRef, BookingRef, PayableRef
from domain.payments import PaymentId
from infrastructure.postgres.engine import Database

# Looked up after 2, 4, 8 ... minutes, at most an hour apart, for three days: gateways may authorise that late.
_TO_LOOK_UP = """
WITH due AS (
    SELECT id FROM payments
    WHERE status IN ('pending', 'failed') AND gateway <> 'offline' AND gateway <> ALL ($3)
      AND created_at < now() - $1::interval AND created_at > now() - interval '3 days'
      AND (looked_up_at IS NULL
           OR looked_up_at < now() - least($1::interval * 2 ^ least(look_ups, 10), interval '1 hour'))
    ORDER BY looked_up_at NULLS FIRST LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE payments SET looked_up_at = now(), look_ups = look_ups + 1 FROM due WHERE payments.id = due.id
RETURNING payments.id
"""


class PostgresCheckouts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, payment_id: PaymentId, order_id: str, url: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE payments SET gateway_reference = $2, checkout_url = $3 WHERE id = $1",
                payment_id,
                order_id,
                url,
            )

    async def save_return_url(self, payables: Sequence[PayableRef], return_url: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE payments SET return_url = $3 WHERE booking_id = ANY ($1) OR coaching_booking_id = ANY ($2)",
                [payable.id for payable in payables if isinstance(payable, BookingRef)],
                [payable.id for payable in payables if isinstance(payable, AppointmentRef)],
                return_url,
            )

    async def claim_to_look_up(
        self, *, older_than: timedelta, limit: int, apart_from: Collection[str]
    ) -> Sequence[PaymentId]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_TO_LOOK_UP, older_than, limit, list(apart_from))
        return [PaymentId(row["id"]) for row in rows]
