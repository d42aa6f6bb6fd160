"""Which payments and holds are due for what."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from application.ports.payments import PaymentRequest
from domain.bookings import BookingId
from domain.events import EventId
from domain.money import Money
from domain.payments import PaymentId, PaymentNotFound
from domain.users import UserId
from infrastructure.database.engine import Database

_HOLDS = """
SELECT id FROM bookings
WHERE hold_until <= $1 AND status = 'confirmed' AND payment_status IN ('pending', 'failed')
ORDER BY hold_until LIMIT $2
"""

# Asked about after 2, 4, 8 ... minutes, at most an hour apart, for three days: as long as gateways may authorise late.
_TO_LOOK_UP = """
WITH due AS (
    SELECT id FROM payments
    WHERE status IN ('pending', 'failed') AND gateway <> 'offline'
      AND created_at < now() - $1::interval AND created_at > now() - interval '3 days'
      AND (looked_up_at IS NULL
           OR looked_up_at < now() - least($1::interval * 2 ^ least(look_ups, 10), interval '1 hour'))
    ORDER BY looked_up_at NULLS FIRST LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE payments SET looked_up_at = now(), look_ups = look_ups + 1 FROM due WHERE payments.id = due.id
RETURNING payments.id
"""

_REQUEST = """
SELECT p.id AS payment_id, p.gateway, p.checkout_url, p.amount, p.currency,
       b.id AS booking_id, b.reference, b.hold_until, e.id AS event_id, e.title, e.facilitator_id,
       u.id AS user_id, u.name AS user_name, u.email AS user_email
FROM payments p JOIN bookings b ON b.id = p.booking_id JOIN events e ON e.id = b.event_id
     JOIN users u ON u.id = b.user_id
"""

_OPEN_REQUEST = f"""{_REQUEST}
WHERE b.id = $1 AND b.status = 'confirmed' AND b.payment_status IN ('pending', 'failed')
  AND p.status IN ('pending', 'failed')
ORDER BY p.id DESC LIMIT 1
"""


class PostgresPaymentReader:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def expired_holds(self, now: datetime, *, limit: int) -> Sequence[BookingId]:
        async with self._database.connection() as connection:
            return [BookingId(row["id"]) for row in await connection.fetch(_HOLDS, now, limit)]

    async def claim_to_look_up(self, *, older_than: timedelta, limit: int) -> Sequence[PaymentId]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_TO_LOOK_UP, older_than, limit)
        return [PaymentId(row["id"]) for row in rows]

    async def open_request(self, booking_id: BookingId) -> tuple[PaymentRequest, str, str | None] | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_OPEN_REQUEST, booking_id)
        return (_request(row), row["gateway"], row["checkout_url"]) if row else None

    async def request_of(self, payment_id: PaymentId) -> tuple[PaymentRequest, str]:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"{_REQUEST} WHERE p.id = $1", payment_id)
        if row is None:
            raise PaymentNotFound
        return _request(row), row["gateway"]


def _request(row: asyncpg.Record) -> PaymentRequest:
    return PaymentRequest(
        payment_id=PaymentId(row["payment_id"]),
        booking_id=BookingId(row["booking_id"]),
        reference=row["reference"],
        event_id=EventId(row["event_id"]),
        user_id=UserId(row["user_id"]),
        user_name=row["user_name"],
        user_email=row["user_email"],
        facilitator_id=UserId(row["facilitator_id"]),
        price=Money(row["amount"], row["currency"]),
        title=row["title"],
        until=row["hold_until"],
    )
