"""Contract B 11 to 14: bookings."""

from datetime import datetime
from typing import Annotated, Any, Literal

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.bookings.cancellation import CancelBooking
from application.bookings.ports import BookingFilter, BookingQueries, BookingView
from application.bookings.queries import ShowBooking
from application.bookings.reservation import BookSeat, NewBooking
from application.notifications.reminders import ShowBookingReminders
from application.payments.ports.records import Refund
from application.ports import DEFAULT_PAGE, MAX_PAGE, PageRequest
from domain.accounts import User
from domain.api_keys import Scope
from domain.bookings import BookingStatus
from domain.disputes import DisputeStatus
from domain.events import EventId
from domain.payments import PaymentStatus
from interfaces.http.authentication import signed_in
from interfaces.http.injection import Inject
from interfaces.http.parameters import BookingIdInPath, Cursor, PageSize, member_of
from interfaces.http.reminders import ReminderBody, reminder_bodies
from interfaces.http.schemas import (
    BodyId,
    number,
    object_page,
    require_one_seat,
    whole_seconds,
)

TAGS = ["Contract B: bookings"]


class NewBookingRequest(Struct):
    """`return_url`: where the buyer goes after paying, character by character an address of `OAUTH_REDIRECT_ALLOWLIST`.
    It gets the query parameters `booking_reference` and `status`."""

    event_id: BodyId
    notes: str | None = None
    quantity: int | None = None
    return_url: str | None = None


class UserBrief(Struct):
    id: int
    name: str
    email: str


class EventBrief(Struct):
    id: int
    title: str
    price: float
    currency: str


class CreatedBooking(Struct):
    id: int
    booking_reference: str
    status: BookingStatus
    notes: str | None
    payment_status: PaymentStatus
    dispute: DisputeStatus | None
    payment_id: str | None
    payment_reference: str | None
    price: float
    currency: str
    facilitator_id: int
    user: UserBrief
    event: EventBrief
    created_at: datetime


class BookingCreated(Struct):
    message: str
    booking: CreatedBooking
    payment_url: str | None


class EventOfBooking(Struct):
    id: int
    title: str
    description: str
    start_datetime: datetime
    end_datetime: datetime
    location: str | None
    virtual_link: str | None
    price: float
    currency: str


class BookingBody(Struct):
    """`dispute`: the payer disputes the payment at the bank; `null` without a dispute.

    `price` and `currency` are those of the time of booking; those of `event` are the present ones. The event's
    `virtual_link` is `null` for a person whose booking is unpaid or cancelled."""

    id: int
    booking_reference: str
    status: BookingStatus
    notes: str | None
    payment_status: PaymentStatus
    dispute: DisputeStatus | None
    payment_id: str | None
    payment_reference: str | None
    price: float
    currency: str
    facilitator_id: int
    cancelled_at: datetime | None
    user: UserBrief
    event: EventOfBooking
    created_at: datetime


class BookingList(Struct):
    bookings: list[BookingBody]
    next_cursor: str | None


class RefundBody(Struct):
    refund_id: str
    amount: float
    currency: str
    status: Literal["pending", "processed"]


class BookingCancelled(Struct):
    message: str
    refund: RefundBody | None


_WORDS_OF_D = {"unpaid": PaymentStatus.PENDING, "paid": PaymentStatus.COMPLETED}

BookingStatusFilter = Annotated[
    BookingStatus | None, member_of(BookingStatus, "Only bookings with this status.", "Must be one of {}")
]
PaymentStatusFilter = Annotated[
    PaymentStatus | None,
    member_of(
        PaymentStatus,
        "Only bookings with this payment status. `unpaid` means `pending`, `paid` means `completed`.",
        "Must be one of {}",
        _WORDS_OF_D,
    ),
]


@post("/bookings", operation_id="createBooking", tags=TAGS, guards=[signed_in.with_scope(Scope.BOOKINGS_WRITE)])
async def create_booking(
    data: JSONBody[NewBookingRequest], actor: Inject[Actor], book_seat: Inject[BookSeat]
) -> BookingCreated:
    require_one_seat(data.quantity)
    new = await book_seat(actor.user, EventId(data.event_id), data.notes, return_url=data.return_url)
    return BookingCreated("Booking created successfully", _created(new), new.payment_url)


@get("/bookings", operation_id="listBookings", tags=TAGS, guards=[signed_in.with_scope(Scope.BOOKINGS_READ)])
async def list_bookings(
    request: Request[Any, Any, Any],
    actor: Inject[Actor],
    booking_queries: Inject[BookingQueries],
    status: FromQuery[BookingStatusFilter] = None,
    payment_status: FromQuery[PaymentStatusFilter] = None,
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[BookingList]:
    """The bookings of the calling account, newest first."""
    filters = BookingFilter(status=status, payment_status=payment_status)
    page = await booking_queries.list_of_user(actor.user.id, filters, PageRequest(limit, cursor))
    return object_page(request, BookingList([_booking(booking, actor.user) for booking in page.items], page.next))


class BookingReminders(Struct):
    booking_id: int
    reminders: list[ReminderBody]
    next_cursor: str | None


@get(
    "/bookings/{booking_id:str}",
    operation_id="getBooking",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.BOOKINGS_READ)],
)
async def get_booking(
    booking_id: FromPath[BookingIdInPath], actor: Inject[Actor], show_booking: Inject[ShowBooking]
) -> BookingBody:
    return _booking(await show_booking(actor.user, booking_id), actor.user)


@get(
    "/bookings/{booking_id:str}/reminders",
    operation_id="listBookingReminders",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.BOOKINGS_READ)],
)
async def list_reminders(
    request: Request[Any, Any, Any],
    booking_id: FromPath[BookingIdInPath],
    actor: Inject[Actor],
    show_booking_reminders: Inject[ShowBookingReminders],
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[BookingReminders]:
    page = await show_booking_reminders(actor.user, booking_id, PageRequest(limit, cursor))
    return object_page(request, BookingReminders(booking_id, reminder_bodies(page.items), page.next))


@post(
    "/bookings/{booking_id:str}/cancel",
    operation_id="cancelBooking",
    tags=TAGS,
    status_code=200,
    guards=[signed_in.with_scope(Scope.BOOKINGS_WRITE)],
)
async def cancel_own_booking(
    booking_id: FromPath[BookingIdInPath], actor: Inject[Actor], cancel_booking: Inject[CancelBooking]
) -> BookingCancelled:
    refund = await cancel_booking(actor.user, booking_id)
    return BookingCancelled("Booking cancelled successfully", refund_body(refund) if refund else None)


ROUTES = [create_booking, list_bookings, get_booking, list_reminders, cancel_own_booking]


def refund_body(refund: Refund) -> RefundBody:
    amount = refund.amount
    return RefundBody(
        refund_id=f"rfnd_{refund.id.hex}",
        amount=number(amount.amount, amount.currency),
        currency=amount.currency,
        status="pending" if refund.is_open else "processed",
    )


def _created(new: NewBooking) -> CreatedBooking:
    reserved = new.reserved
    return CreatedBooking(
        id=reserved.id,
        booking_reference=reserved.reference,
        status=BookingStatus.CONFIRMED,
        notes=reserved.notes,
        payment_status=reserved.payment_status,
        dispute=None,
        payment_id=None,
        payment_reference=None,
        price=number(reserved.price, reserved.currency),
        currency=reserved.currency,
        facilitator_id=reserved.facilitator_id,
        user=UserBrief(reserved.user_id, reserved.user_name, reserved.user_email),
        event=EventBrief(
            reserved.event_id, reserved.event_title, number(reserved.price, reserved.currency), reserved.currency
        ),
        created_at=whole_seconds(reserved.created_at),
    )


def _booking(booking: BookingView, viewer: User) -> BookingBody:
    event = booking.event
    return BookingBody(
        id=booking.id,
        booking_reference=booking.reference,
        status=booking.status,
        notes=booking.notes,
        payment_status=booking.payment_status,
        dispute=booking.dispute,
        payment_id=booking.payment_id,
        payment_reference=booking.payment_reference,
        price=number(booking.price.amount, booking.price.currency),
        currency=booking.price.currency,
        facilitator_id=event.facilitator_id,
        cancelled_at=whole_seconds(booking.cancelled_at) if booking.cancelled_at else None,
        user=UserBrief(booking.user_id, booking.user_name, booking.user_email),
        event=EventOfBooking(
            id=event.id,
            title=event.title,
            description=event.description,
            start_datetime=whole_seconds(event.starts_at),
            end_datetime=whole_seconds(event.ends_at),
            location=event.location,
            virtual_link=booking.join_link(viewer),
            price=number(event.price, event.currency),
            currency=event.currency,
        ),
        created_at=whole_seconds(booking.created_at),
    )
