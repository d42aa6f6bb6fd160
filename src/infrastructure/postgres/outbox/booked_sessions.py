"""The present state of what held mails are about."""

from uuid import UUID

from application.notifications.ports import SessionRef
from domain.ids import AppointmentRef, BookingRef
from domain.unverified_mail import BookedSession
from infrastructure.postgres.engine import Database

_BOOKING = """
SELECT e.starts_at, e.ends_at, b.status = 'confirmed' AS is_live, b.payment_status
FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1
"""
_APPOINTMENT = """
SELECT starts_at, ends_at, status IN ('pending', 'confirmed') AS is_live, payment_status
FROM coaching_bookings WHERE id = $1
"""
_STATEMENTS = {BookingRef: _BOOKING, AppointmentRef: _APPOINTMENT}
_INVITATION = """
SELECT e.starts_at, e.ends_at, i.status = 'pending' AS is_live, NULL::text AS payment_status
FROM invitations i JOIN events e ON e.id = i.event_id WHERE i.id = $1
"""


class PostgresBookedSessions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, about: SessionRef) -> BookedSession | None:
        key: UUID | int = about if isinstance(about, UUID) else about.id
        statement = _INVITATION if isinstance(about, UUID) else _STATEMENTS[type(about)]
        async with self._database.connection() as connection:
            row = await connection.fetchrow(statement, key)
        return BookedSession(**row) if row else None
