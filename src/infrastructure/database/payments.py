"""Payments as records."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.bookings import BookingId
from domain.payments import PaymentStatus
from infrastructure.database.tables import PaymentRow


class PostgresPayments:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def complete_offline(self, booking_id: BookingId, now: datetime) -> None:  # noqa: ARG002
        await self._session.execute(
            update(PaymentRow)
            .where(PaymentRow.booking_id == booking_id, PaymentRow.status == PaymentStatus.PENDING)
            .values(status=PaymentStatus.COMPLETED, gateway="offline")
        )
