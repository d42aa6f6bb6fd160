"""Contract E: statistics of a coach's sessions."""

from datetime import date, timedelta
from uuid import UUID

from litestar import get
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from application.accounts.sessions import Actor
from application.appointments.statistics import ShowCoachStatistics
from domain.api_keys import Scope
from interfaces.http.authentication import signed_in
from interfaces.http.coaching_api.parameters import CoachIdInPath, OptionalRangeEnd, OptionalRangeStart
from interfaces.http.injection import Inject
from interfaces.http.schemas import number

TAGS = ["Contract E: appointments"]


class CoachWeekBody(Struct):
    """`week`: the Monday of the week, in the coach's time zone."""

    week: date
    bookings: int
    booked_hours: float
    completed: int
    cancelled: int


class CoachFiguresBody(Struct):
    coach_id: UUID
    bookings: int
    booked_hours: float
    completed: int
    cancelled: int
    cancellation_rate: float
    clients: int
    revenue: dict[str, float]
    weeks: list[CoachWeekBody]


@get(
    "/booking/coach/{coach_id:str}/analytics",
    operation_id="getCoachAnalytics",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.APPOINTMENTS_READ)],
)
async def coach_analytics(
    coach_id: FromPath[CoachIdInPath],
    actor: Inject[Actor],
    show_coach_statistics: Inject[ShowCoachStatistics],
    start_date: FromQuery[OptionalRangeStart] = None,
    end_date: FromQuery[OptionalRangeEnd] = None,
) -> CoachFiguresBody:
    counted = await show_coach_statistics(
        actor.user,
        coach_id,
        start_date,
        end_date,
    )
    return CoachFiguresBody(
        coach_id=coach_id,
        bookings=counted.bookings,
        booked_hours=_hours(counted.booked),
        completed=counted.completed,
        cancelled=counted.cancelled,
        cancellation_rate=round(counted.cancellation_rate, 4),
        clients=counted.clients,
        revenue={currency: number(amount, currency) for currency, amount in counted.revenue.items()},
        weeks=[
            CoachWeekBody(week.begins_on, week.bookings, _hours(week.booked), week.completed, week.cancelled)
            for week in counted.weeks
        ],
    )


ROUTES = [coach_analytics]


def _hours(time: timedelta) -> float:
    return round(time / timedelta(hours=1), 2)
