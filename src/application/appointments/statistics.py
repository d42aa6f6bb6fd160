"""Statistics of a coach's sessions."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from application.appointments.ports import CoachStatistics, CoachStatisticsQueries
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.appointments import AppointmentListForbidden
from domain.authorization import require_owner
from domain.availability import statistics_window, zone_of
from domain.coaches import CoachNotFound
from domain.errors import Errors
from domain.weeks import Week

WEEKS = 12
_INSTANT = datetime.resolution


@use_case
class ShowCoachStatistics:
    """Statistics of a coach's sessions: hours, clients, cancellations and revenue. For the coach and admins.

    - A session belongs to the week of its start. Cancelled sessions count as cancellations and in no other figure.
    - Revenue is the amount received minus the amount refunded, by currency.
    - Weeks begin on Monday in the coach's time zone; empty weeks are included. Without dates the range is the last
      twelve weeks, including the current one.
    """

    raises: ClassVar[Errors] = (CoachNotFound, AppointmentListForbidden)

    open_work: OpenUnitOfWork
    reader: CoachStatisticsQueries
    clock: Clock

    async def __call__(
        self, user: User, coach_uuid: UUID, starts_at: datetime | None, ends_at: datetime | None
    ) -> CoachStatistics:
        require_owner(user, coach_uuid, error=AppointmentListForbidden)
        async with self.open_work() as work:
            coach = await work.coaches.get(coach_uuid)
        zone = zone_of(coach.availability.timezone)
        until = ends_at if ends_at else Week.of(self.clock.now(), zone).later(1).starts_at
        window = statistics_window(starts_at or Week.of(until - _INSTANT, zone).later(1 - WEEKS).starts_at, until)
        return await self.reader.statistics(coach.user.id, window, zone)
