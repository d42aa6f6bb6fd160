"""Coaches, their busy times, and the queries about them, in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from application.appointments.ports import CoachList, CoachView
from domain.accounts import Role, User, UserId
from domain.appointments import LIVE
from domain.availability import Availability
from domain.coaches import Coach, CoachNotFound
from domain.events import EventStatus
from domain.ids import AppointmentId
from domain.money import Money
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure.postgres.pages import cursor_of, id_after
from tests.support.memory.accounts import ProfileRow
from tests.support.memory.appointments import overlap
from tests.support.memory.rows import appointments_in, connections_in, events_in, user_in
from tests.support.memory.store import Store, Tables, Transaction

DEFAULT_CURRENCY = "INR"


@dataclass(frozen=True, slots=True)
class StoredCoach:
    availability: Availability
    price_per_hour: Money
    refund_policy: RefundPolicy
    updated_at: datetime


class MemoryCoaches:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def get(self, coach: UUID) -> Coach:
        return self._find(lambda user: user.uuid == coach)

    async def get_to_book(self, coach: UUID) -> Coach:
        return await self.get(coach)

    async def get_by_id(self, user_id: UserId) -> Coach:
        return self._find(lambda user: user.id == user_id)

    def _find(self, is_wanted: Callable[[User], bool]) -> Coach:
        tables = self._transaction.tables
        for user in tables.of("users").values():
            if is_wanted(user) and user.role in {Role.FACILITATOR, Role.ADMIN}:
                row = tables.of("coaches").get(user.id) or _defaults(user)
                return Coach(user, row.availability, row.price_per_hour, row.refund_policy)
        raise CoachNotFound

    async def save(
        self, user_id: UserId, availability: Availability, price: Money, policy: RefundPolicy, now: datetime
    ) -> None:
        user_in(self._transaction.tables, user_id)
        self._transaction.tables.of("coaches")[user_id] = StoredCoach(availability, price, policy, now)

    async def lock_out_events(self, user_id: UserId) -> None:
        """Transactions in memory never overlap."""

    async def busy(
        self, user_id: UserId, window: Interval, *, apart_from: AppointmentId | None = None
    ) -> list[Interval]:
        tables = self._transaction.tables
        sessions = [
            each.busy
            for each in appointments_in(tables)
            if each.coach_id == user_id and each.status in LIVE and each.id != apart_from
        ]
        events = [
            each.details.interval
            for each in events_in(tables)
            if each.facilitator_id == user_id and each.status is EventStatus.ACTIVE and each.deleted_at is None
        ]
        calendars = [busy for each in connections_in(tables) if each.user_id == user_id for busy in each.busy]
        return [each for each in sessions + events + calendars if overlap(each, window)]


def _defaults(user: User) -> StoredCoach:
    free = Money.from_minor_units(0, DEFAULT_CURRENCY)
    return StoredCoach(Availability(timezone=user.timezone or "UTC"), free, RefundPolicy(), user.created_at)


class MemoryCoachQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, coach: UUID, today: date) -> CoachView:
        tables = self._store.tables
        for user in self._bookable(today):
            if user.uuid == coach:
                return _view(tables, user)
        raise CoachNotFound

    async def list(self, limit: int, after: str | None, today: date) -> CoachList:
        later = [user for user in self._bookable(today) if user.id > (id_after(after) or 0)]
        shown = later[:limit]
        following = cursor_of(shown[-1].id) if len(later) > limit else None
        return CoachList([_view(self._store.tables, user) for user in shown], following)

    def _bookable(self, today: date) -> Sequence[User]:
        """The hours of yesterday count, because it has not ended in all time zones."""
        tables = self._store.tables
        profiles = tables.of("facilitator_profiles")

        def has_hours(user: User) -> bool:
            row: StoredCoach | None = tables.of("coaches").get(user.id)
            if row is None:
                return True
            dates = [day for day, hours in row.availability.overrides.items() if hours]
            return any(row.availability.weekly.values()) or any(day >= today - timedelta(days=1) for day in dates)

        return [
            user
            for user in sorted(tables.of("users").values(), key=lambda user: user.id)
            if user.role is Role.FACILITATOR and user.is_active and user.id in profiles and has_hours(user)
        ]


def _view(tables: Tables, user: User) -> CoachView:
    profile: ProfileRow = tables.of("facilitator_profiles")[user.id]
    row = tables.of("coaches").get(user.id) or _defaults(user)
    return CoachView(
        uuid=user.uuid,
        name=user.name,
        bio=profile.bio,
        specialization=profile.specialization,
        rating=profile.rating_sum / profile.rating_count if profile.rating_count else None,
        price_per_hour=row.price_per_hour,
        timezone=row.availability.timezone,
    )
