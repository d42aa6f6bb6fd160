"""Queries of payments, and of holds that have expired."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from application.payments.ports.gateways import PaymentRequest
from application.payments.ports.records import OpenRequest, PaidFor, PaymentOverview
from domain.accounts import UserId
from domain.appointments import AppointmentNotFound
from domain.bookings import BookingNotFound
from domain.events import EventId
from domain.ids import BookingId, BookingRef, PayableRef
from domain.money import Money
from domain.payments import PaymentId, PaymentNotFound, PaymentStatus
from infrastructure.postgres.engine import Database
from infrastructure.postgres.payments.repository import column_of, payable_of

_HOLDS = """
SELECT id FROM bookings
WHERE hold_until <= $1 AND status = 'confirmed' AND payment_status IN ('pending', 'failed')
ORDER BY hold_until LIMIT $2
"""

# Seats and appointments as payables.
_REQUEST = """
SELECT p.id AS payment_id, p.gateway, p.checkout_url, p.amount, p.currency, p.booking_id, p.coaching_booking_id,
       coalesce(b.reference, c.id::text) AS reference, coalesce(b.hold_until, c.hold_until) AS hold_until,
       coalesce(b.payment_status, c.payment_status) AS payment_status, p.return_url,
       coalesce(b.status, c.status) = 'cancelled' AS is_cancelled,
       coalesce(e.starts_at, c.starts_at) AS starts_at, coalesce(e.ends_at, c.ends_at) AS ends_at,
       e.id AS event_id, coalesce(e.title, 'Coaching with ' || f.name) AS title, f.id AS facilitator_id,
       u.id AS user_id, u.name AS user_name, u.email AS user_email, u.timezone
FROM payments p
     LEFT JOIN bookings b ON b.id = p.booking_id LEFT JOIN events e ON e.id = b.event_id
     LEFT JOIN coaching_bookings c ON c.id = p.coaching_booking_id
     JOIN users u ON u.id = coalesce(b.user_id, c.client_id)
     JOIN users f ON f.id = coalesce(e.facilitator_id, c.coach_id)
"""

_CLIENT_OF_BOOKING = "SELECT user_id FROM bookings WHERE id = $1"
_CLIENT_OF_APPOINTMENT = "SELECT client_id FROM coaching_bookings WHERE id = $1"

_OPEN_REQUEST = """
WHERE p.{column} = $1 AND coalesce(b.status, c.status) IN ('pending', 'confirmed')
  AND coalesce(b.payment_status, c.payment_status) IN ('pending', 'failed') AND p.status IN ('pending', 'failed')
  AND f.is_active
  AND coalesce(b.hold_until, c.hold_until, 'infinity') > now()
ORDER BY p.id DESC LIMIT 1
"""


class PostgresPaymentQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def expired_holds(self, now: datetime, *, limit: int) -> Sequence[BookingId]:
        async with self._database.connection() as connection:
            return [BookingId(row["id"]) for row in await connection.fetch(_HOLDS, now, limit)]

    async def client_of(self, payable: PayableRef) -> UserId:
        statement, not_found = (
            (_CLIENT_OF_BOOKING, BookingNotFound)
            if isinstance(payable, BookingRef)
            else (_CLIENT_OF_APPOINTMENT, AppointmentNotFound)
        )
        async with self._database.connection() as connection:
            client_id = await connection.fetchval(statement, payable.id)
        if client_id is None:
            raise not_found
        return UserId(client_id)

    async def open_request(self, payable: PayableRef) -> OpenRequest | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_REQUEST + _OPEN_REQUEST.format(column=column_of(payable)), payable.id)
        return OpenRequest(_request(row), row["gateway"], row["checkout_url"]) if row else None

    async def request_of(self, payment_id: PaymentId) -> tuple[PaymentRequest, str]:
        row = await self._of(payment_id)
        return _request(row), row["gateway"]

    async def paid_for(self, payment_id: PaymentId) -> PaidFor:
        row = await self._of(payment_id)
        return PaidFor(
            payable_of(row),
            row["reference"],
            PaymentStatus(row["payment_status"]),
        )

    async def overview(self, payment_id: PaymentId) -> PaymentOverview:
        row = await self._of(payment_id)
        return PaymentOverview(
            payment_id=payment_id,
            gateway=row["gateway"],
            reference=row["reference"],
            title=row["title"],
            starts_at=row["starts_at"],
            ends_at=row["ends_at"],
            timezone=row["timezone"],
            price=Money(row["amount"], row["currency"]),
            is_cancelled=row["is_cancelled"],
            payment_status=PaymentStatus(row["payment_status"]),
            hold_until=row["hold_until"],
            checkout_url=row["checkout_url"],
            return_url=row["return_url"],
        )

    async def _of(self, payment_id: PaymentId) -> asyncpg.Record:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"{_REQUEST} WHERE p.id = $1", payment_id)
        if row is None:
            raise PaymentNotFound
        return row


def _request(row: asyncpg.Record) -> PaymentRequest:
    return PaymentRequest(
        payment_id=PaymentId(row["payment_id"]),
        payable=payable_of(row),
        reference=row["reference"],
        event_id=EventId(row["event_id"]) if row["event_id"] is not None else None,
        user_id=UserId(row["user_id"]),
        user_name=row["user_name"],
        user_email=row["user_email"],
        facilitator_id=UserId(row["facilitator_id"]),
        price=Money(row["amount"], row["currency"]),
        title=row["title"],
        until=row["hold_until"],
    )
