"""Contract E: recurring sessions."""

from datetime import datetime
from uuid import UUID

from litestar import post
from litestar.params import JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.appointments.series import BookSeries
from domain.api_keys import Scope
from domain.appointments import length_of
from interfaces.http.authentication import signed_in
from interfaces.http.coaching_api.appointments import AppointmentCreated, created_body
from interfaces.http.injection import Inject
from interfaces.http.schemas import whole_seconds

TAGS = ["Contract E: appointments"]


class NewSeriesRequest(Struct):
    """`rrule`: a rule of RFC 5545 such as `FREQ=WEEKLY;BYDAY=MO;COUNT=10`; the first session is at `session_datetime`.
    `return_url`: where the client goes after paying for a session of the series, as in `POST /bookings`."""

    coach_id: UUID
    session_datetime: datetime
    duration_minutes: int
    rrule: str
    notes: str | None = None
    timezone: str | None = None
    skip_conflicts: bool = False
    return_url: str | None = None


class RefusedSession(Struct):
    session_datetime: datetime
    reason: str


class SeriesBody(Struct):
    series_id: UUID
    bookings: list[AppointmentCreated]
    refused: list[RefusedSession]


@post(
    "/booking/recurring", operation_id="bookSeries", tags=TAGS, guards=[signed_in.with_scope(Scope.APPOINTMENTS_WRITE)]
)
async def book_recurring(
    data: JSONBody[NewSeriesRequest], actor: Inject[Actor], book_series: Inject[BookSeries]
) -> SeriesBody:
    booked = await book_series(
        actor.user,
        data.coach_id,
        data.session_datetime,
        length_of(data.duration_minutes),
        data.rrule,
        timezone=data.timezone,
        notes=data.notes,
        skip_conflicts=data.skip_conflicts,
        return_url=data.return_url,
    )
    return SeriesBody(
        booked.series_id,
        [created_body(each) for each in booked.appointments],
        [RefusedSession(whole_seconds(moment), reason) for moment, reason in booked.refused],
    )


ROUTES = [book_recurring]
