"""What people have booked with facilitators who are deactivated."""

from collections.abc import Sequence
from dataclasses import dataclass

from infrastructure.database.engine import Database

_AHEAD = """
WITH booked AS (
    SELECT e.facilitator_id AS user_id, b.payment_status
    FROM bookings b JOIN events e ON e.id = b.event_id JOIN users f ON f.id = e.facilitator_id
    WHERE NOT f.is_active AND b.status = 'confirmed' AND e.ends_at > now()
    UNION ALL
    SELECT c.coach_id, c.payment_status
    FROM coaching_bookings c JOIN users f ON f.id = c.coach_id
    WHERE NOT f.is_active AND c.status IN ('pending', 'confirmed') AND c.ends_at > now()
)
SELECT u.id, u.email, count(*) AS bookings, count(*) FILTER (WHERE payment_status = 'completed') AS paid
FROM booked JOIN users u ON u.id = booked.user_id GROUP BY u.id ORDER BY paid DESC, bookings DESC, u.id
"""


@dataclass(frozen=True, slots=True)
class BookingsAhead:
    """Of one deactivated facilitator: live bookings and appointments that are not over, and how many are paid."""

    facilitator_id: int
    email: str
    bookings: int
    paid: int


class PostgresDeactivatedFacilitators:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def bookings_ahead(self) -> Sequence[BookingsAhead]:
        """Those with most paid ones first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_AHEAD)
        return [BookingsAhead(row["id"], row["email"], row["bookings"], row["paid"]) for row in rows]
