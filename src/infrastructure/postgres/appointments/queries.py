"""Queries about appointments."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from application.appointments.ports import AppointmentPage, AppointmentView, HistoryEntry
from application.ports import Page, PageRequest
from domain.accounts import UserId
from domain.appointments import AppointmentChange, AppointmentNotFound, AppointmentStatus, SeriesId
from domain.disputes import DisputeStatus
from domain.ids import AppointmentId
from domain.money import Money
from domain.payments import PaymentId, PaymentStatus
from domain.time import Interval
from infrastructure.postgres.appointments.pages import chosen, total
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import cursor_of, id_after, limited, moment_and_uuid_after

_APPOINTMENTS = """
SELECT b.id, b.client_id, b.coach_id, b.starts_at, b.ends_at, b.status, b.payment_status, b.price, b.currency, b.notes,
       b.dispute, b.meeting_link, b.series_id, b.sequence, b.hold_until, b.created_at, b.updated_at,
       u.uuid AS client_uuid, u.name AS client_name, u.email AS client_email,
       f.uuid AS coach_uuid, f.name AS coach_name, f.email AS coach_email,
       (SELECT id FROM payments WHERE coaching_booking_id = b.id AND status IN ('completed', 'refunded')
        ORDER BY received_at DESC, id DESC LIMIT 1) AS payment_id
FROM coaching_bookings b JOIN users u ON u.id = b.client_id JOIN users f ON f.id = b.coach_id
"""

_HISTORY = """
SELECT c.id, c.change, c.changed_at, c.before, c.after, u.uuid AS by_uuid, u.name AS by_name
FROM coaching_changes c LEFT JOIN users u ON u.id = c.actor_id
WHERE c.booking_id = $1 AND c.id > $2 ORDER BY c.id LIMIT $3
"""

_EXPIRED = """
SELECT id FROM coaching_bookings
WHERE hold_until <= $1 AND status = 'pending' AND payment_status IN ('pending', 'failed')
ORDER BY hold_until LIMIT $2
"""


class PostgresAppointmentQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, appointment_id: AppointmentId) -> AppointmentView:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"{_APPOINTMENTS} WHERE b.id = $1", appointment_id)
        if row is None:
            raise AppointmentNotFound
        return _view(row)

    async def list(self, appointments: Sequence[AppointmentId]) -> Sequence[AppointmentView]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"{_APPOINTMENTS} WHERE b.id = ANY($1) ORDER BY b.starts_at, b.id", appointments
            )
        return [_view(row) for row in rows]

    async def list_of_client(
        self, client: UUID, *, status: AppointmentStatus | None, skip: int, page: PageRequest
    ) -> AppointmentPage:
        return await self._page("client_id", client, status, skip, page)

    async def list_of_coach(
        self, coach: UUID, *, status: AppointmentStatus | None, skip: int, page: PageRequest
    ) -> AppointmentPage:
        return await self._page("coach_id", coach, status, skip, page)

    async def _page(
        self, column: str, whose: UUID, status: AppointmentStatus | None, skip: int, page: PageRequest
    ) -> AppointmentPage:
        position = moment_and_uuid_after(page.after)
        async with self._database.connection() as connection:
            # A common snapshot would need a transaction, so the total may be slightly older than the page.
            length = await connection.fetchval(total(column, status), whose)
            page_of = f"{_APPOINTMENTS} WHERE b.id IN ({chosen(column, status)}) ORDER BY b.starts_at DESC, b.id DESC"
            rows = await connection.fetch(limited(page_of, page), whose, skip, *position)
        shown = [_view(row) for row in rows[: page.limit]]
        following = cursor_of(shown[-1].session.starts_at, shown[-1].id) if len(rows) > page.limit else None
        return AppointmentPage(shown, length, following)

    async def history(self, appointment_id: AppointmentId, page: PageRequest) -> Page[HistoryEntry]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_HISTORY, appointment_id, id_after(page.after) or 0, page.limit + 1)
        shown = rows[: page.limit]
        entries = [
            HistoryEntry(
                change=AppointmentChange(row["change"]),
                changed_at=row["changed_at"],
                by_uuid=row["by_uuid"],
                by_name=row["by_name"],
                before=row["before"],
                after=row["after"],
            )
            for row in shown
        ]
        return Page(entries, cursor_of(shown[-1]["id"]) if len(rows) > page.limit else None)

    async def expired_holds(self, now: datetime, *, limit: int) -> Sequence[AppointmentId]:
        async with self._database.connection() as connection:
            return [AppointmentId(row["id"]) for row in await connection.fetch(_EXPIRED, now, limit)]


def _view(row: asyncpg.Record) -> AppointmentView:
    return AppointmentView(
        id=AppointmentId(row["id"]),
        client_uuid=row["client_uuid"],
        client_name=row["client_name"],
        client_email=row["client_email"],
        coach_uuid=row["coach_uuid"],
        coach_name=row["coach_name"],
        coach_email=row["coach_email"],
        client_id=UserId(row["client_id"]),
        coach_id=UserId(row["coach_id"]),
        session=Interval(row["starts_at"], row["ends_at"]),
        status=AppointmentStatus(row["status"]),
        payment_status=PaymentStatus(row["payment_status"]),
        payment_id=PaymentId(row["payment_id"]) if row["payment_id"] else None,
        price=Money(row["price"], row["currency"]),
        notes=row["notes"],
        meeting_link=row["meeting_link"],
        series_id=SeriesId(row["series_id"]) if row["series_id"] else None,
        sequence=row["sequence"],
        hold_until=row["hold_until"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        dispute=DisputeStatus(row["dispute"]) if row["dispute"] else None,
    )
