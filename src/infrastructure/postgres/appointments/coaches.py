"""Coaches and their busy times, inside a unit of work."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.availability import Availability, Hours, WorkingDay
from domain.coaches import Coach, CoachNotFound
from domain.ids import AppointmentId
from domain.money import Money
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure.postgres.accounts.repository import user_of_record
from infrastructure.postgres.events.repository import EVENTS_OF_COACH
from infrastructure.postgres.tables import CoachRow
from infrastructure.postgres.tables.columns import stored_policy

_COACH = """
SELECT u.*, h.timezone AS coach_timezone, h.weekly_hours, h.date_overrides, h.buffer_before, h.buffer_after,
       h.minimum_notice, h.slot_step, h.bookable_ahead, h.price_per_hour, h.currency, h.refund_policy
FROM users u LEFT JOIN coaches h ON h.user_id = u.id
WHERE u.role IN ('facilitator', 'admin') AND """

# The expressions are those of the exclusion constraint, so that its index is used. Events are read by their end: one
# that overlaps the time ends at most its own length later. Events of more than a day have an index of their own.
BUSY = """
SELECT busy_from AS starts_at, busy_until AS ends_at FROM coaching_bookings
WHERE status IN ('pending', 'confirmed') AND int8range(coach_id, coach_id, '[]') && int8range(:coach, :coach, '[]')
  AND tstzrange(busy_from, busy_until) && tstzrange(:since, :until) AND id IS DISTINCT FROM CAST(:apart_from AS uuid)
UNION ALL
SELECT starts_at, ends_at FROM events
WHERE facilitator_id = :coach AND status = 'active' AND hidden_at IS NULL AND starts_at < :until AND ends_at > :since
  AND ends_at < CAST(:until AS timestamptz) + interval '24 hours' AND ends_at - starts_at <= interval '24 hours'
UNION ALL
SELECT starts_at, ends_at FROM events
WHERE facilitator_id = :coach AND status = 'active' AND hidden_at IS NULL AND starts_at < :until AND ends_at > :since
  AND ends_at - starts_at > interval '24 hours'
UNION ALL
SELECT b.starts_at, b.ends_at FROM calendar_busy b JOIN calendar_connections c ON c.id = b.connection_id
WHERE c.user_id = :coach AND b.starts_at < :until AND b.ends_at > :since
"""


class PostgresCoaches:
    """`default_currency`: the currency of coaches who have set no price."""

    def __init__(self, session: AsyncSession, default_currency: str) -> None:
        self._session = session
        self._default_currency = default_currency

    async def get(self, coach: UUID) -> Coach:
        return await self._find("u.uuid = :uuid", uuid=coach)

    async def get_to_book(self, coach: UUID) -> Coach:
        return await self._find("u.uuid = :uuid FOR SHARE OF u", uuid=coach)

    async def get_by_id(self, user_id: UserId) -> Coach:
        return await self._find("u.id = :id", id=user_id)

    async def _find(self, which: str, **values: Any) -> Coach:
        row = (await self._session.execute(text(_COACH + which), values)).mappings().first()
        if row is None:
            raise CoachNotFound
        return self._coach(row)

    def _coach(self, row: RowMapping) -> Coach:
        user = user_of_record(row)
        if row["coach_timezone"] is None:
            free = Money.from_minor_units(0, self._default_currency)
            return Coach(user, Availability(timezone=row["timezone"] or "UTC"), free, RefundPolicy())
        availability = Availability(
            timezone=row["coach_timezone"],
            weekly={int(day): _hours(hours) for day, hours in row["weekly_hours"].items()},
            overrides={date.fromisoformat(day): _hours(hours) for day, hours in row["date_overrides"].items()},
            buffer_before=row["buffer_before"],
            buffer_after=row["buffer_after"],
            minimum_notice=row["minimum_notice"],
            slot_step=row["slot_step"],
            bookable_ahead=row["bookable_ahead"],
        )
        price = Money(row["price_per_hour"], row["currency"])
        return Coach(user, availability, price, RefundPolicy.of(row["refund_policy"]))

    async def save(
        self, user_id: UserId, availability: Availability, price: Money, policy: RefundPolicy, now: datetime
    ) -> None:
        said = {
            "timezone": availability.timezone,
            "weekly_hours": _stored(availability.weekly),
            "date_overrides": _stored(availability.overrides),
            "buffer_before": availability.buffer_before,
            "buffer_after": availability.buffer_after,
            "minimum_notice": availability.minimum_notice,
            "slot_step": availability.slot_step,
            "bookable_ahead": availability.bookable_ahead,
            "price_per_hour": price.amount,
            "currency": price.currency,
            "refund_policy": stored_policy(policy),
            "updated_at": now,
        }
        await self._session.execute(
            insert(CoachRow)
            .values(user_id=user_id, **said)
            .on_conflict_do_update(index_elements=["user_id"], set_=said)
        )

    async def lock_out_events(self, user_id: UserId) -> None:
        await self._session.execute(
            text(f"SELECT pg_advisory_xact_lock_shared({EVENTS_OF_COACH})"), {"id": str(user_id)}
        )

    async def busy(
        self, user_id: UserId, window: Interval, *, apart_from: AppointmentId | None = None
    ) -> list[Interval]:
        values = {"coach": user_id, "since": window.starts_at, "until": window.ends_at, "apart_from": apart_from}
        rows = await self._session.execute(text(BUSY), values)
        return [Interval(starts_at, ends_at) for starts_at, ends_at in rows]


def _hours(stored: list[list[int]]) -> WorkingDay:
    return tuple(Hours(opens, closes) for opens, closes in stored)


def _stored(days: Mapping[int, WorkingDay] | Mapping[date, WorkingDay]) -> dict[str, list[list[int]]]:
    return {str(day): [[hours.opens, hours.closes] for hours in working] for day, working in days.items()}
