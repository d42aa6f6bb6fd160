"""Queries of the dashboard of a facilitator."""

from datetime import datetime
from decimal import Decimal

from application.bookings.ports import Dashboard
from domain.accounts import UserId
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.facilitator_counts import COUNTED, KEPT
from infrastructure.postgres.events.queries import NEWEST_OF_FACILITATOR, booking_view


def _figures(source: str) -> str:
    """The figures of the one facilitator in `$1`, from rows of counts. `$2` is now. The events ahead that have started
    are few: a worker completes them when they end."""
    return f"""
WITH counts AS ({source}),
money AS (
    SELECT currency, sum(revenue) AS amount, sum(payments) AS payments FROM counts WHERE currency <> ''
    GROUP BY currency HAVING sum(payments) > 0
)
SELECT EXISTS (SELECT FROM counted_facilitators WHERE facilitator_id = ANY($1::bigint[])) AS complete,
       coalesce(sum(sessions), 0)::bigint AS total_sessions,
       coalesce(sum(active_sessions), 0)::bigint AS active_sessions,
       (coalesce(sum(sessions_ahead), 0) - (
           SELECT count(*) FROM events e
           WHERE e.facilitator_id = ANY($1::bigint[]) AND e.starts_at <= $2
             AND e.status = 'active' AND e.hidden_at IS NULL AND e.completed_at IS NULL))::bigint AS upcoming_sessions,
       coalesce(sum(bookings), 0)::bigint AS total_bookings,
       (SELECT coalesce(json_object_agg(currency, amount::text ORDER BY payments DESC, currency), '{{}}')
        FROM money) AS revenue
FROM counts
"""  # noqa: S608 (composed of constants)


FROM_COUNTS, FROM_TABLES = (
    _figures(source).replace("= ANY($1::bigint[])", "= $1::bigint") for source in (KEPT, COUNTED)
)


class PostgresFacilitatorQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def has_profile(self, user_id: UserId) -> bool:
        async with self._database.connection() as connection:
            return bool(await connection.fetch("SELECT FROM facilitator_profiles WHERE user_id = $1", user_id))

    async def dashboard(self, facilitator_id: UserId, now: datetime, *, recent: int) -> Dashboard:
        """A facilitator who was not counted yet is counted here."""
        newest = NEWEST_OF_FACILITATOR.replace(":rows", str(recent))
        async with self._database.snapshot() as connection:
            (row,) = await connection.fetch(FROM_COUNTS, facilitator_id, now)
            if not row["complete"]:
                (row,) = await connection.fetch(FROM_TABLES, facilitator_id, now)
            bookings = await connection.fetch(newest, None, facilitator_id)
        return Dashboard(
            total_sessions=row["total_sessions"],
            active_sessions=row["active_sessions"],
            upcoming_sessions=row["upcoming_sessions"],
            total_bookings=row["total_bookings"],
            revenue={currency: Decimal(amount) for currency, amount in row["revenue"].items()},
            recent=[booking_view(each) for each in bookings],
        )
