"""Checkouts of payments: their addresses and return addresses."""

from collections.abc import Sequence

from domain.ids import AppointmentRef, BookingRef, PayableRef
from domain.payments import PaymentId
from infrastructure.postgres.engine import Database


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
