"""Queries for the comparison of payments with the gateways."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from application.payments.ports.reconciliation import BookedPayment, DeadJob, RecordedMismatch, StuckRefund
from application.ports import Page, PageRequest
from domain.disputes import DisputeStatus
from domain.money import Money
from domain.outbox import Destination
from domain.payments import PaymentId, PaymentNotFound, PaymentStatus
from domain.refunds import RefundId
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import LAST_UUID, cursor_of, first_uuid, uuid_after
from infrastructure.postgres.payments.repository import payment_of

_BOOKED = """
SELECT p.*, coalesce(b.reference, p.coaching_booking_id::text) AS reference, (
    SELECT coalesce(sum(r.amount), 0) FROM refunds r WHERE r.payment_id = p.id AND r.status = 'processed'
) AS given_back
FROM payments p LEFT JOIN bookings b ON b.id = p.booking_id
"""
_PAGE = f"""{_BOOKED}
WHERE ($1::timestamptz IS NULL OR p.created_at >= $1) AND p.id > $2
  AND (NOT $4 OR (p.gateway_reference IS NOT NULL AND p.gateway <> 'offline'))
ORDER BY p.id LIMIT $3
"""
_STUCK = """
SELECT r.*, p.gateway, coalesce(b.reference, p.coaching_booking_id::text) AS reference
FROM refunds r JOIN payments p ON p.id = r.payment_id LEFT JOIN bookings b ON b.id = p.booking_id
WHERE ((r.status = 'failed' AND r.ended_by IS NULL) OR (r.status = 'pending' AND r.requested_at < now() - $2::interval))
  AND ($1::timestamptz IS NULL OR r.requested_at >= $1)
ORDER BY r.requested_at
"""


class PostgresPaymentAudit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def payments(
        self, *, since: datetime | None, after: PaymentId | None, limit: int, at_gateways: bool
    ) -> Sequence[BookedPayment]:
        return [_booked(row) for row in await self._rows(_PAGE, since, after or first_uuid(since), limit, at_gateways)]

    async def get(self, payment_id: PaymentId) -> BookedPayment:
        for row in await self._rows(f"{_BOOKED} WHERE p.id = $1", payment_id):
            return _booked(row)
        raise PaymentNotFound

    async def newest(
        self, *, status: PaymentStatus | None, page: PageRequest, dispute: DisputeStatus | None = None
    ) -> Page[BookedPayment]:
        before = uuid_after(page.after) or LAST_UUID
        # A statement for each filter, because one with an optional condition is planned without the index.
        filters = {"status": status, "dispute": dispute}
        chosen = [value for value in filters.values() if value is not None]
        columns = [column for column, value in filters.items() if value is not None]
        which = "".join(f"p.{column} = ${number} AND " for number, column in enumerate(columns, 3))
        query = f"{_BOOKED} WHERE {which}p.id < $1 ORDER BY p.id DESC LIMIT $2"
        rows = await self._rows(query, before, page.limit + 1, *chosen)
        booked = [_booked(row) for row in rows[: page.limit]]
        return Page(booked, cursor_of(booked[-1].payment.id) if len(rows) > page.limit else None)

    async def mismatches(self, *, since: datetime | None) -> Sequence[RecordedMismatch]:
        rows = await self._rows(
            """SELECT id, gateway, order_id, why, seen_at FROM payment_differences
            WHERE settled_at IS NULL AND ($1::timestamptz IS NULL OR seen_at >= $1) ORDER BY id""",
            since,
        )
        return [RecordedMismatch(**row) for row in rows]

    async def stuck_refunds(self, *, since: datetime | None, older_than: timedelta) -> Sequence[StuckRefund]:
        return [
            StuckRefund(
                id=RefundId(row["id"]),
                reference=row["reference"],
                gateway=row["gateway"],
                amount=Money(row["amount"], row["currency"]),
                requested_at=row["requested_at"],
                failed=row["status"] == "failed",
            )
            for row in await self._rows(_STUCK, since, older_than)
        ]

    async def dead_jobs(self, *, since: datetime | None) -> Sequence[DeadJob]:
        rows = await self._rows(
            """SELECT id, fact AS message_type, lane AS ordering_key, last_error FROM outbox
            WHERE status = 'dead' AND destination = $1 AND ($2::timestamptz IS NULL OR occurred_at >= $2)
            ORDER BY seq""",
            Destination.PAYMENTS,
            since,
        )
        return [DeadJob(**row) for row in rows]

    async def _rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        async with self._database.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *values)
        return rows


def _booked(row: asyncpg.Record) -> BookedPayment:
    return BookedPayment(
        payment_of(row), row["reference"], row["created_at"], Money(row["given_back"], row["currency"])
    )
