"""Coaches who can be booked: not in contract E, with its error format."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from application.appointments.ports import CoachQueries, CoachView
from application.ports import Clock
from interfaces.http.authentication import public
from interfaces.http.coaching_api.parameters import SMALL_PAGE, CoachIdInPath, SmallPageSize
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor
from interfaces.http.schemas import number, object_page

TAGS = ["Contract E: coaches"]


class CoachBody(Struct):
    """`uuid` is the `coach_id` of all other operations. `rating` is the mean of the reviews of their events."""

    uuid: UUID
    name: str
    bio: str | None
    specialization: str | None
    rating: float | None
    price_per_hour: float
    currency: str
    timezone: str


class CoachListBody(Struct):
    coaches: list[CoachBody]
    next_cursor: str | None


@get("/coaches", operation_id="listCoaches", tags=TAGS, opt=public)
async def list_coaches(
    request: Request[Any, Any, Any],
    coach_queries: Inject[CoachQueries],
    clock: Inject[Clock],
    limit: FromQuery[SmallPageSize] = SMALL_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[CoachListBody]:
    """Coaches who offer appointments, in the order of their registration.

    - A coach is an active facilitator with weekly hours, or with hours on a date that is not past. The default hours
      are 09:00 to 17:00 every day.
    - `uuid` is the `coach_id` of other operations. The price is per hour; zero is free.
    """
    found = await coach_queries.list(limit, cursor, clock.now().date())
    return object_page(request, CoachListBody([_body(coach) for coach in found.items], found.next))


@get("/coaches/{coach_id:str}", operation_id="getCoach", tags=TAGS, opt=public)
async def show_coach(
    coach_id: FromPath[CoachIdInPath], coach_queries: Inject[CoachQueries], clock: Inject[Clock]
) -> CoachBody:
    """A coach who offers appointments, as in the list of coaches."""
    return _body(await coach_queries.get(coach_id, clock.now().date()))


ROUTES = [list_coaches, show_coach]


def _body(coach: CoachView) -> CoachBody:
    return CoachBody(
        uuid=coach.uuid,
        name=coach.name,
        bio=coach.bio,
        specialization=coach.specialization,
        rating=round(coach.rating, 2) if coach.rating is not None else None,
        price_per_hour=number(coach.price_per_hour.amount, coach.price_per_hour.currency),
        currency=coach.price_per_hour.currency,
        timezone=coach.timezone,
    )
