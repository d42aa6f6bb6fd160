"""Contract C: sessions and bookings of a facilitator."""

from datetime import datetime
from typing import Any

from litestar import Request, Response, delete, get
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from application.accounts.sessions import Actor
from application.bookings.ports import BookingQueries, BookingView, Dashboard, FacilitatorQueries
from application.events.management import CancelEvent
from application.events.ports import EventQueries, EventView
from application.events.queries import EventBookings
from application.ports import MAX_PAGE, Clock, PageRequest
from domain.api_keys import Scope
from domain.bookings import BookingStatus
from domain.events import EventStatus, EventType
from interfaces.http.authentication import facilitators, profiled_facilitators
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor, PageSize, SessionIdInPath
from interfaces.http.schemas import DefaultCurrency, Done, array_page, number, whole_seconds

TAGS = ["Contract C: facilitators"]

RECENT = 10


class Attendee(Struct):
    id: int
    name: str
    email: str


class SessionBrief(Struct):
    id: int
    title: str
    start_time: datetime


class AttendeeBooking(Struct):
    id: int
    user: Attendee
    booking_status: BookingStatus
    booking_date: datetime
    notes: str | None


class FacilitatorBooking(Struct):
    id: int
    user: Attendee
    session: SessionBrief
    booking_status: BookingStatus
    booking_date: datetime
    notes: str | None


class Metrics(Struct):
    """`total_revenue` is in `currency`, the currency of most payments; `revenue_by_currency` also has the others."""

    total_sessions: int
    active_sessions: int
    total_bookings: int
    total_revenue: float
    currency: str
    revenue_by_currency: dict[str, float]
    upcoming_sessions: int


class RecentBooking(Struct):
    id: int
    user: Attendee
    session: SessionBrief
    booking_date: datetime
    status: BookingStatus


class DashboardBody(Struct):
    metrics: Metrics
    recent_bookings: list[RecentBooking]


class OwnSession(Struct):
    id: int
    title: str
    description: str
    session_type: EventType
    start_time: datetime
    end_time: datetime
    capacity: int
    price: float
    currency: str
    status: EventStatus
    bookings_count: int
    available_spots: int
    created_at: datetime


@delete(
    "/api/facilitator/sessions/{session_id:str}",
    operation_id="deleteSession",
    tags=TAGS,
    status_code=200,
    guards=[facilitators.with_scope(Scope.EVENTS_WRITE)],
)
async def remove_session(
    session_id: FromPath[SessionIdInPath], actor: Inject[Actor], cancel_event: Inject[CancelEvent]
) -> Done:
    """Cancels the session; nothing is deleted."""
    await cancel_event(actor.user, session_id)
    return Done("Session cancelled successfully")


@get(
    "/api/facilitator/bookings",
    operation_id="listFacilitatorBookings",
    tags=TAGS,
    guards=[profiled_facilitators.with_scope(Scope.BOOKINGS_READ)],
)
async def list_bookings(
    request: Request[Any, Any, Any],
    actor: Inject[Actor],
    booking_queries: Inject[BookingQueries],
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[list[FacilitatorBooking]]:
    """The bookings of all sessions of the calling facilitator, newest first, cancelled ones included."""
    page = await booking_queries.list_of_facilitator(actor.user.id, PageRequest(limit, cursor))
    return array_page(request, page, _facilitator_booking)


@get(
    "/api/facilitator/dashboard",
    operation_id="getDashboard",
    tags=TAGS,
    guards=[profiled_facilitators.with_scope(Scope.BOOKINGS_READ)],
)
async def show_dashboard(
    actor: Inject[Actor],
    facilitator_queries: Inject[FacilitatorQueries],
    clock: Inject[Clock],
    default_currency: Inject[DefaultCurrency],
) -> DashboardBody:
    """Key figures and the last ten bookings. Revenue is the amount received minus refunds and what lost disputes took
    back."""
    dashboard = await facilitator_queries.dashboard(actor.user.id, clock.now(), recent=RECENT)
    return DashboardBody(_metrics(dashboard, default_currency), [_recent(booking) for booking in dashboard.recent])


@get(
    "/api/facilitator/sessions",
    operation_id="listOwnSessions",
    tags=TAGS,
    guards=[profiled_facilitators.with_scope(Scope.EVENTS_READ)],
)
async def list_own_sessions(
    request: Request[Any, Any, Any],
    actor: Inject[Actor],
    event_queries: Inject[EventQueries],
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[list[OwnSession]]:
    """All sessions of the calling facilitator, including cancelled and past ones, latest start first."""
    page = await event_queries.list_of_facilitator(actor.user.id, PageRequest(limit, cursor))
    return array_page(request, page, _own_session)


@get(
    "/api/facilitator/sessions/{session_id:str}/bookings",
    operation_id="listSessionBookings",
    tags=TAGS,
    guards=[facilitators.with_scope(Scope.BOOKINGS_READ)],
)
async def list_session_bookings(
    request: Request[Any, Any, Any],
    session_id: FromPath[SessionIdInPath],
    actor: Inject[Actor],
    event_bookings: Inject[EventBookings],
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[list[AttendeeBooking]]:
    """The bookings of a session of the calling facilitator, newest first, cancelled ones included."""
    _, page = await event_bookings(actor.user, session_id, PageRequest(limit, cursor))
    return array_page(request, page, _attendee_booking)


ROUTES = [remove_session, list_bookings, show_dashboard, list_own_sessions, list_session_bookings]


def _metrics(dashboard: Dashboard, default_currency: str) -> Metrics:
    revenue = {currency: number(amount, currency) for currency, amount in dashboard.revenue.items()}
    currency = next(iter(revenue), default_currency)
    return Metrics(
        total_sessions=dashboard.total_sessions,
        active_sessions=dashboard.active_sessions,
        total_bookings=dashboard.total_bookings,
        total_revenue=revenue.get(currency, 0.0),
        currency=currency,
        revenue_by_currency=revenue,
        upcoming_sessions=dashboard.upcoming_sessions,
    )


def _attendee(booking: BookingView) -> Attendee:
    return Attendee(booking.user_id, booking.user_name, booking.user_email)


def _session_brief(event: EventView) -> SessionBrief:
    return SessionBrief(event.id, event.title, whole_seconds(event.starts_at))


def _attendee_booking(booking: BookingView) -> AttendeeBooking:
    return AttendeeBooking(
        id=booking.id,
        user=_attendee(booking),
        booking_status=booking.status,
        booking_date=whole_seconds(booking.created_at),
        notes=booking.notes,
    )


def _facilitator_booking(booking: BookingView) -> FacilitatorBooking:
    return FacilitatorBooking(
        id=booking.id,
        user=_attendee(booking),
        session=_session_brief(booking.event),
        booking_status=booking.status,
        booking_date=whole_seconds(booking.created_at),
        notes=booking.notes,
    )


def _recent(booking: BookingView) -> RecentBooking:
    return RecentBooking(
        id=booking.id,
        user=_attendee(booking),
        session=_session_brief(booking.event),
        booking_date=whole_seconds(booking.created_at),
        status=booking.status,
    )


def _own_session(event: EventView) -> OwnSession:
    return OwnSession(
        id=event.id,
        title=event.title,
        description=event.description,
        session_type=event.event_type,
        start_time=whole_seconds(event.starts_at),
        end_time=whole_seconds(event.ends_at),
        capacity=event.capacity,
        price=number(event.price, event.currency),
        currency=event.currency,
        status=event.status,
        bookings_count=event.booked,
        available_spots=event.available,
        created_at=whole_seconds(event.created_at),
    )
