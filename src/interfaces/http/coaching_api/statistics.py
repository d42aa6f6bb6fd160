"""Contract E: statistics of a coach's sessions."""

from datetime import date, timedelta
from uuid import UUID

from litestar import get
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from application.accounts.sessions import Actor
from application.appointments.statistics import ShowCoachStatistics
from domain.coaches import CoachNotFound
from interfaces.http.authentication import signed_in
from interfaces.http.injection import Inject
from interfaces.http.schemas import number, path_uuid, query_instant

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


@get("/booking/coach/{coach_id:str}/analytics", operation_id="getCoachAnalytics", tags=TAGS, guards=[signed_in])
async def coach_analytics(
    coach_id: FromPath[str],
    actor: Inject[Actor],
    show_coach_statistics: Inject[ShowCoachStatistics],
    start_date: FromQuery[str | None] = None,
    end_date: FromQuery[str | None] = None,
) -> CoachFiguresBody:
    coach = path_uuid(coach_id, CoachNotFound)
    counted = await show_coach_statistics(
        actor.user,
        coach,
        None if start_date is None else query_instant("start_date", start_date),
        None if end_date is None else query_instant("end_date", end_date),
    )
    return CoachFiguresBody(
        coach_id=coach,
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
