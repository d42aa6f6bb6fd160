"""Statistics of a coach's sessions."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import asyncpg

from application.appointments.ports import CoachStatistics, CoachWeek
from domain.accounts import UserId
from domain.time import Interval
from domain.weeks import weeks_of
from infrastructure.postgres.engine import Database

# The weeks are parameters, because the time zone data of PostgreSQL and Python may have different versions.
_WEEKS = """
SELECT width_bucket(starts_at, $4::timestamptz[]) - 1 AS week,
       count(*) FILTER (WHERE status <> 'cancelled') AS bookings,
       coalesce(sum(ends_at - starts_at) FILTER (WHERE status <> 'cancelled'), interval '0') AS booked,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled
FROM coaching_bookings WHERE coach_id = $1 AND starts_at >= $2 AND starts_at < $3 GROUP BY week
"""

_CLIENTS = """
SELECT count(DISTINCT client_id) FROM coaching_bookings
WHERE coach_id = $1 AND starts_at >= $2 AND starts_at < $3 AND status <> 'cancelled'
"""

_REVENUE = """
SELECT p.currency, sum(p.amount - p.refunded) AS revenue
FROM coaching_bookings b JOIN payments p ON p.coaching_booking_id = b.id
WHERE b.coach_id = $1 AND b.starts_at >= $2 AND b.starts_at < $3 AND p.received_at IS NOT NULL
GROUP BY p.currency ORDER BY p.currency
"""


class PostgresCoachStatistics:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def statistics(self, coach: UserId, window: Interval, zone: ZoneInfo) -> CoachStatistics:
        weeks = weeks_of(window, zone)
        which = (coach, window.starts_at, window.ends_at)
        async with self._database.snapshot() as connection:
            counted = await connection.fetch(_WEEKS, *which, [week.starts_at for week in weeks])
            clients = await connection.fetchval(_CLIENTS, *which)
            revenue = await connection.fetch(_REVENUE, *which)
        statistics = {row["week"]: row for row in counted}
        return CoachStatistics(
            weeks=[_week(week.begins_on, statistics.get(number)) for number, week in enumerate(weeks)],
            clients=clients,
            revenue={row["currency"]: row["revenue"] for row in revenue},
        )


def _week(begins_on: date, row: asyncpg.Record | None) -> CoachWeek:
    if row is None:
        return CoachWeek(begins_on, bookings=0, booked=timedelta(0), completed=0, cancelled=0)
    return CoachWeek(begins_on, row["bookings"], row["booked"], row["completed"], row["cancelled"])
