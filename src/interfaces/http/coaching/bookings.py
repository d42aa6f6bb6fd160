"""Contract E: bookings of a coach's time."""

from datetime import datetime, timedelta
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct
from msgspec.structs import asdict

from application.accounts import Actor
from application.coaching import BookCoaching
from application.coaching_views import ShowCoaching
from application.ports.coaching import CoachingView
from domain.coaching import CoachingId, CoachingNotFound, length_of
from interfaces.http.actor import signed_in
from interfaces.http.injection import Given
from interfaces.http.schemas import number, path_uuid, whole_seconds

TAGS = ["Contract E: bookings"]


class NewCoachingRequest(Struct):
    coach_id: UUID
    session_datetime: datetime
    duration_minutes: int
    notes: str | None = None


class CoachingBody(Struct):
    id: UUID
    client_id: UUID
    client_name: str
    client_email: str
    coach_id: UUID
    coach_name: str
    coach_email: str
    session_datetime: datetime
    end_datetime: datetime
    duration_minutes: int
    status: str
    payment_status: str
    payment_id: UUID | None
    price: float
    currency: str
    meeting_link: str | None
    notes: str | None
    series_id: UUID | None
    sequence: int
    hold_until: datetime | None
    created_at: datetime
    updated_at: datetime


class CoachingCreated(CoachingBody):
    payment_url: str | None


@post("/booking", operation_id="bookCoaching", tags=TAGS, guards=[signed_in])
async def book_session(
    data: JSONBody[NewCoachingRequest], actor: Given[Actor], book_coaching: Given[BookCoaching]
) -> CoachingCreated:
    booked = await book_coaching(
        actor.user, data.coach_id, data.session_datetime, length_of(data.duration_minutes), data.notes
    )
    return CoachingCreated(**asdict(coaching_body(booked.coaching)), payment_url=booked.payment_url)


@get("/booking/{booking_id:str}", operation_id="getCoaching", tags=TAGS, guards=[signed_in])
async def get_session(
    booking_id: FromPath[str], actor: Given[Actor], show_coaching: Given[ShowCoaching]
) -> CoachingBody:
    return coaching_body(await show_coaching(actor.user, coaching_id(booking_id)))


ROUTES = [book_session, get_session]


def coaching_id(text: str) -> CoachingId:
    return CoachingId(path_uuid(text, CoachingNotFound))


def coaching_body(view: CoachingView) -> CoachingBody:
    return CoachingBody(
        id=view.id,
        client_id=view.client_uuid,
        client_name=view.client_name,
        client_email=view.client_email,
        coach_id=view.coach_uuid,
        coach_name=view.coach_name,
        coach_email=view.coach_email,
        session_datetime=whole_seconds(view.session.starts_at),
        end_datetime=whole_seconds(view.session.ends_at),
        duration_minutes=(view.session.ends_at - view.session.starts_at) // timedelta(minutes=1),
        status=view.status,
        payment_status=view.payment_status,
        payment_id=view.payment_id,
        price=number(view.price.amount, view.price.currency),
        currency=view.price.currency,
        meeting_link=view.meeting_link,
        notes=view.notes,
        series_id=view.series_id,
        sequence=view.sequence,
        hold_until=whole_seconds(view.hold_until) if view.hold_until else None,
        created_at=whole_seconds(view.created_at),
        updated_at=whole_seconds(view.updated_at),
    )
