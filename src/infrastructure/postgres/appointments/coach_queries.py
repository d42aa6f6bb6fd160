"""Queries about coaches: active facilitators who offer appointments."""

from datetime import date, timedelta
from uuid import UUID

import asyncpg

from application.appointments.ports import CoachList, CoachView
from domain.coaches import CoachNotFound
from domain.money import Money
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import cursor_of, id_after

# Coaches without stored hours are open from 09:00 to 17:00 every day. $1 is the first date whose hours count. Every
# facilitator has a profile, so a page is read in the order of its primary key.
_COACHES = """
SELECT u.id, u.uuid, u.name, p.bio, p.specialization, p.rating_sum::float8 / nullif(p.rating_count, 0) AS rating,
       coalesce(h.price_per_hour, 0) AS price_per_hour, h.currency, coalesce(h.timezone, u.timezone, 'UTC') AS timezone
FROM facilitator_profiles p JOIN users u ON u.id = p.user_id LEFT JOIN coaches h ON h.user_id = u.id
WHERE u.role = 'facilitator' AND u.is_active
  AND (h.user_id IS NULL
       OR EXISTS (SELECT FROM jsonb_each(h.weekly_hours) AS days(day, hours) WHERE hours <> '[]')
       OR EXISTS (SELECT FROM jsonb_each(h.date_overrides) AS days(day, hours)
                  WHERE hours <> '[]' AND day >= $1::date::text))
"""


class PostgresCoachQueries:
    """`default_currency`: the currency of coaches who have set no price."""

    def __init__(self, database: Database, default_currency: str) -> None:
        self._database = database
        self._default_currency = default_currency

    async def get(self, coach: UUID, today: date) -> CoachView:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"{_COACHES} AND u.uuid = $2", _first(today), coach)
        if row is None:
            raise CoachNotFound
        return self._view(row)

    async def list(self, limit: int, after: str | None, today: date) -> CoachList:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"{_COACHES} AND ($2::bigint IS NULL OR p.user_id > $2) ORDER BY p.user_id LIMIT $3",
                _first(today),
                id_after(after),
                limit + 1,
            )
        shown = rows[:limit]
        following = cursor_of(shown[-1]["id"]) if len(rows) > limit else None
        return CoachList([self._view(row) for row in shown], following)

    def _view(self, row: asyncpg.Record) -> CoachView:
        return CoachView(
            uuid=row["uuid"],
            name=row["name"],
            bio=row["bio"],
            specialization=row["specialization"],
            rating=row["rating"],
            price_per_hour=Money(row["price_per_hour"], row["currency"] or self._default_currency),
            timezone=row["timezone"],
        )


def _first(today: date) -> date:
    """The day before `today`, because it has not ended in all time zones when a day starts in UTC."""
    return today - timedelta(days=1)
