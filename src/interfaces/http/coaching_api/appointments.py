"""Contract E: appointments with coaches, which it calls bookings."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, Struct, UnsetType, convert
from msgspec.structs import asdict

from application.accounts.sessions import Actor
from application.appointments.booking import BookAppointment, BookedAppointment
from application.appointments.changes import (
    CancelAppointment,
    ChangeAppointmentStatus,
    RescheduleAppointment,
    UpdateAppointmentNotes,
)
from application.appointments.ports import AppointmentPage, AppointmentView, HistoryEntry
from application.appointments.queries import ListAppointments, ShowAppointment
from application.notifications.reminders import ShowAppointmentReminders
from application.ports import DEFAULT_PAGE, PageRequest
from domain.api_keys import Scope
from domain.appointments import (
    AppointmentCancelReason,
    AppointmentChange,
    AppointmentStatus,
    length_of,
)
from domain.disputes import DisputeStatus
from domain.errors import Invalid
from domain.payments import PaymentStatus
from interfaces.http.authentication import signed_in
from interfaces.http.coaching_api.parameters import (
    APPOINTMENT_STATUS,
    SMALL_PAGE,
    AppointmentIdInPath,
    ClientIdInPath,
    CoachIdInPath,
    Skipped,
    SmallPageSize,
    StatusFilter,
)
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor, PageSize
from interfaces.http.reminders import ReminderBody, reminder_bodies
from interfaces.http.schemas import (
    number,
    object_page,
    one_of,
    whole_seconds,
)

TAGS = ["Contract E: appointments"]

readers = signed_in.with_scope(Scope.APPOINTMENTS_READ)
writers = signed_in.with_scope(Scope.APPOINTMENTS_WRITE)


class NewAppointmentRequest(Struct):
    """`return_url`: where the client goes after paying, as in `POST /bookings`."""

    coach_id: UUID
    session_datetime: datetime
    duration_minutes: int
    notes: str | None = None
    return_url: str | None = None


class AppointmentBody(Struct):
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
    status: AppointmentStatus
    payment_status: PaymentStatus
    dispute: DisputeStatus | None
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


class AppointmentCreated(AppointmentBody):
    """`payment_url`: the address of the checkout; `null` if nothing is to be paid online or the gateway is
    unavailable."""

    payment_url: str | None


class AppointmentList(Struct):
    bookings: list[AppointmentBody]
    total: int
    skip: int
    limit: int
    next_cursor: str | None


class StatusRequest(Struct):
    status: Annotated[str, one_of(AppointmentStatus)]


class NotesRequest(Struct):
    notes: str | None


class RescheduleRequest(Struct):
    session_datetime: datetime
    duration_minutes: int | None = None


class RememberedFile(Struct):
    id: UUID
    filename: str


class RememberedFields(Struct):
    """The fields of a booking that changed; all of them in the entry of its creation. `attachment` is present when a
    file was added or removed."""

    status: Annotated[str, one_of(AppointmentStatus)] | UnsetType = UNSET
    payment_status: Annotated[str, one_of(PaymentStatus)] | UnsetType = UNSET
    dispute: Annotated[str, one_of(DisputeStatus)] | UnsetType | None = UNSET
    session_datetime: datetime | UnsetType = UNSET
    end_datetime: datetime | UnsetType = UNSET
    notes: str | UnsetType | None = UNSET
    meeting_link: str | UnsetType | None = UNSET
    cancel_reason: Annotated[str, one_of(AppointmentCancelReason)] | UnsetType | None = UNSET
    attachment: RememberedFile | UnsetType = UNSET


class HistoryEntryBody(Struct):
    """`change` is the kind of change: `created`, `confirmed`, `completed`, `cancelled`, `rescheduled`,
    `payment_failed`, `paid`, `reinstated`, `refunded`, `dispute_opened`, `dispute_won`, `dispute_lost`,
    `notes_changed`, `linked` (to an online meeting), `attachment_added` or `attachment_removed`. `changed_by` is `null`
    for a change by a gateway, a calendar or the end of a hold."""

    change: AppointmentChange
    changed_at: datetime
    changed_by: UUID | None
    changed_by_name: str | None
    before: RememberedFields | None
    after: RememberedFields


class HistoryBody(Struct):
    booking_id: UUID
    history: list[HistoryEntryBody]
    next_cursor: str | None


class SessionReminders(Struct):
    booking_id: UUID
    reminders: list[ReminderBody]
    next_cursor: str | None


@post("/booking", operation_id="bookCoaching", tags=TAGS, guards=[writers])
async def book_session(
    data: JSONBody[NewAppointmentRequest], actor: Inject[Actor], book_appointment: Inject[BookAppointment]
) -> AppointmentCreated:
    booked = await book_appointment(
        actor.user,
        data.coach_id,
        data.session_datetime,
        length_of(data.duration_minutes),
        data.notes,
        return_url=data.return_url,
    )
    return created_body(booked)


@get("/booking/{booking_id:str}", operation_id="getCoaching", tags=TAGS, guards=[readers])
async def get_session(
    booking_id: FromPath[AppointmentIdInPath], actor: Inject[Actor], show_appointment: Inject[ShowAppointment]
) -> AppointmentBody:
    return appointment_body(await show_appointment(actor.user, booking_id))


@get("/booking/client/{client_id:str}", operation_id="listCoachingsOfClient", tags=TAGS, guards=[readers])
async def list_sessions_of_client(
    request: Request[Any, Any, Any],
    client_id: FromPath[ClientIdInPath],
    actor: Inject[Actor],
    list_appointments: Inject[ListAppointments],
    skip: FromQuery[Skipped] = None,
    limit: FromQuery[SmallPageSize] = SMALL_PAGE,
    cursor: FromQuery[Cursor] = None,
    status: FromQuery[StatusFilter] = None,
) -> Response[AppointmentList]:
    skipped, page = _window(skip, limit, cursor)
    listed = await list_appointments.of_client(actor.user, client_id, status, skip=skipped, page=page)
    return object_page(request, _listed(listed, skipped, page))


@get("/booking/coach/{coach_id:str}", operation_id="listCoachingsOfCoach", tags=TAGS, guards=[readers])
async def list_sessions_of_coach(
    request: Request[Any, Any, Any],
    coach_id: FromPath[CoachIdInPath],
    actor: Inject[Actor],
    list_appointments: Inject[ListAppointments],
    skip: FromQuery[Skipped] = None,
    limit: FromQuery[SmallPageSize] = SMALL_PAGE,
    cursor: FromQuery[Cursor] = None,
    status: FromQuery[StatusFilter] = None,
) -> Response[AppointmentList]:
    skipped, page = _window(skip, limit, cursor)
    listed = await list_appointments.of_coach(actor.user, coach_id, status, skip=skipped, page=page)
    return object_page(request, _listed(listed, skipped, page))


@patch("/booking/{booking_id:str}/status", operation_id="changeCoachingStatus", tags=TAGS, guards=[writers])
async def change_session_status(
    booking_id: FromPath[AppointmentIdInPath],
    data: JSONBody[StatusRequest],
    actor: Inject[Actor],
    change_appointment_status: Inject[ChangeAppointmentStatus],
) -> AppointmentBody:
    status = APPOINTMENT_STATUS.convert("status", data.status)
    return appointment_body(await change_appointment_status(actor.user, booking_id, status))


@delete("/booking/{booking_id:str}", operation_id="cancelCoaching", tags=TAGS, guards=[writers])
async def cancel_session(
    booking_id: FromPath[AppointmentIdInPath], actor: Inject[Actor], cancel_appointment: Inject[CancelAppointment]
) -> None:
    await cancel_appointment(actor.user, booking_id)


@patch("/booking/{booking_id:str}", operation_id="noteCoaching", tags=TAGS, guards=[writers])
async def note_session(
    booking_id: FromPath[AppointmentIdInPath],
    data: JSONBody[NotesRequest],
    actor: Inject[Actor],
    update_appointment_notes: Inject[UpdateAppointmentNotes],
) -> AppointmentBody:
    return appointment_body(await update_appointment_notes(actor.user, booking_id, data.notes))


@post(
    "/booking/{booking_id:str}/reschedule",
    operation_id="rescheduleCoaching",
    tags=TAGS,
    status_code=200,
    guards=[writers],
)
async def reschedule_session(
    booking_id: FromPath[AppointmentIdInPath],
    data: JSONBody[RescheduleRequest],
    actor: Inject[Actor],
    reschedule_appointment: Inject[RescheduleAppointment],
) -> AppointmentBody:
    length = None if data.duration_minutes is None else length_of(data.duration_minutes)
    return appointment_body(await reschedule_appointment(actor.user, booking_id, data.session_datetime, length))


@get("/booking/{booking_id:str}/history", operation_id="getCoachingHistory", tags=TAGS, guards=[readers])
async def get_session_history(
    request: Request[Any, Any, Any],
    booking_id: FromPath[AppointmentIdInPath],
    actor: Inject[Actor],
    show_appointment: Inject[ShowAppointment],
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[HistoryBody]:
    """The history of a session, oldest change first: the account, the changed fields, and their values before and
    after."""
    page = await show_appointment.history(actor.user, booking_id, PageRequest(limit, cursor))
    return object_page(request, HistoryBody(booking_id, [_entry(entry) for entry in page.items], page.next))


@get("/booking/{booking_id:str}/reminders", operation_id="listCoachingReminders", tags=TAGS, guards=[readers])
async def list_session_reminders(
    request: Request[Any, Any, Any],
    booking_id: FromPath[AppointmentIdInPath],
    actor: Inject[Actor],
    show_appointment_reminders: Inject[ShowAppointmentReminders],
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[SessionReminders]:
    page = await show_appointment_reminders(actor.user, booking_id, PageRequest(limit, cursor))
    return object_page(request, SessionReminders(booking_id, reminder_bodies(page.items), page.next))


ROUTES = [
    book_session,
    get_session,
    list_sessions_of_client,
    list_sessions_of_coach,
    change_session_status,
    cancel_session,
    note_session,
    reschedule_session,
    get_session_history,
    list_session_reminders,
]


def _window(skip: int | None, limit: int, cursor: str | None) -> tuple[int, PageRequest]:
    if skip is not None and cursor is not None:
        raise Invalid({"skip": "Must not be given together with cursor"})
    return skip or 0, PageRequest(limit, cursor)


def _listed(listed: AppointmentPage, skipped: int, page: PageRequest) -> AppointmentList:
    return AppointmentList(
        [appointment_body(view) for view in listed.items], listed.total, skipped, page.limit, listed.next
    )


def _entry(entry: HistoryEntry) -> HistoryEntryBody:
    return HistoryEntryBody(
        change=entry.change,
        changed_at=whole_seconds(entry.changed_at),
        changed_by=entry.by_uuid,
        changed_by_name=entry.by_name,
        before=None if entry.before is None else _remembered(entry.before),
        after=_remembered(entry.after),
    )


_NAMES_IN_HISTORY = {"starts_at": "session_datetime", "ends_at": "end_datetime"}


def _remembered(fields: Mapping[str, Any]) -> RememberedFields:
    return convert({_NAMES_IN_HISTORY.get(name, name): value for name, value in fields.items()}, RememberedFields)


def created_body(booked: BookedAppointment) -> AppointmentCreated:
    return AppointmentCreated(**asdict(appointment_body(booked.appointment)), payment_url=booked.payment_url)


def appointment_body(view: AppointmentView) -> AppointmentBody:
    return AppointmentBody(
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
        dispute=view.dispute,
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
