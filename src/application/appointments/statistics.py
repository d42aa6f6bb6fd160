"""How a coach's sessions go."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from application.appointments.ports import CoachStatistics, CoachStatisticsQueries
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import User
from domain.appointments import AppointmentListForbidden
from domain.authorization import require_owner
from domain.availability import statistics_window, zone_of
from domain.weeks import Week

WEEKS = 12
_INSTANT = datetime.resolution


@dataclass(frozen=True, slots=True)
class ShowCoachStatistics:
    """A coach's sessions in figures, for the coach and admins: hours, clients, cancellations and revenue.

    - A session counts where it begins. What was cancelled counts as that and in no other figure.
    - Revenue is what was received minus what was given back, by currency.
    - Weeks begin on Monday in the coach's time zone, and empty ones are there too. Without dates these are the last
      twelve weeks, the current one among them.
    """

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
