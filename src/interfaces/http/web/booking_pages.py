"""The pages of a client: booking a seat, the client's bookings, paying and cancelling them."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from application.accounts.sessions import Actor
from application.bookings.cancellation import CancelBooking
from application.bookings.ports import BookingFilter, BookingQueries, BookingView
from application.bookings.queries import ShowBooking
from application.bookings.reservation import BookSeat
from application.payments.checkout import OpenCheckout
from application.payments.refunds import CancellationTerms, ShowCancellation
from application.ports import Clock, PageRequest
from domain.bookings import BookingAlreadyCancelled, BookingForbidden, BookingOver, BookingStatus
from domain.errors import Invalid
from domain.ids import BookingRef
from domain.payments import UNPAID
from interfaces.http.injection import Inject
from interfaces.http.parameters import BookingIdInPath, EventIdInPath
from interfaces.http.web.page_sessions import form_fields, session_page, with_session
from interfaces.http.web.pages import AnyRequest, Pages

BOOKINGS_OF_PAGE = 50


@post(
    "/book/events/{event_id:str}",
    operation_id="bookOnPage",
    include_in_schema=False,
    status_code=303,
    opt=session_page,
    guards=[with_session],
)
async def book_on_page(
    request: AnyRequest,
    pages: Inject[Pages],
    event_id: FromPath[EventIdInPath],
    actor: Inject[Actor],
    book_seat: Inject[BookSeat],
) -> Response[Any]:
    """Leads to the page of the booking, where it is paid."""
    notes = (await form_fields(request)).get("notes", "").strip()
    booked = await book_seat(actor.user, event_id, notes or None)
    return Redirect(pages.address(f"/me/bookings/{booked.reserved.id}"), status_code=303)


@get("/me", operation_id="showOwnBookings", include_in_schema=False, opt=session_page, guards=[with_session])
async def show_own_bookings(
    request: AnyRequest,
    pages: Inject[Pages],
    actor: Inject[Actor],
    booking_queries: Inject[BookingQueries],
    clock: Inject[Clock],
) -> Response[str]:
    """The bookings of the account: those that lie ahead, and the others."""
    now, page = clock.now(), PageRequest(BOOKINGS_OF_PAGE, request.query_params.get("cursor") or None)
    try:
        found = await booking_queries.list_of_user(actor.user.id, BookingFilter(), page)
    except Invalid:  # no cursor of bookings
        found = await booking_queries.list_of_user(actor.user.id, BookingFilter(), PageRequest(BOOKINGS_OF_PAGE))

    def is_ahead(booking: BookingView) -> bool:
        return booking.status is BookingStatus.CONFIRMED and booking.event.ends_at > now

    ahead = sorted(filter(is_ahead, found.items), key=lambda booking: booking.event.starts_at)
    others: Sequence[BookingView] = [booking for booking in found.items if not is_ahead(booking)]
    return pages.show(request, "own_bookings.html", ahead=ahead, others=others, following=found.next)


@get(
    "/me/bookings/{booking_id:str}",
    operation_id="showOwnBooking",
    include_in_schema=False,
    opt=session_page,
    guards=[with_session],
)
async def show_own_booking(
    request: AnyRequest,
    pages: Inject[Pages],
    booking_id: FromPath[BookingIdInPath],
    actor: Inject[Actor],
    show_booking: Inject[ShowBooking],
    show_cancellation: Inject[ShowCancellation],
) -> Response[str]:
    """A booking, and what its cancellation refunds now."""
    booking = await show_booking(actor.user, booking_id)
    try:
        terms = await show_cancellation(actor.user, booking_id)
    except (BookingOver, BookingAlreadyCancelled, BookingForbidden):  # the facilitator sees bookings of others
        terms = None
    return _shown(pages, request, booking, terms, actor)


@post(
    "/me/bookings/{booking_id:str}/pay",
    operation_id="payOnPage",
    include_in_schema=False,
    status_code=200,
    opt=session_page,
    guards=[with_session],
)
async def pay_on_page(
    request: AnyRequest,
    pages: Inject[Pages],
    booking_id: FromPath[BookingIdInPath],
    actor: Inject[Actor],
    open_checkout: Inject[OpenCheckout],
) -> Response[Any]:
    """Leads to the gateway by a link: a form may be sent to this host alone. Without a gateway the page says so."""
    url = await open_checkout.for_user(actor.user, BookingRef(booking_id))
    return pages.show(request, "payment_link.html", url=url, booking_id=booking_id)


@post(
    "/me/bookings/{booking_id:str}/cancel",
    operation_id="cancelOnPage",
    include_in_schema=False,
    status_code=303,
    opt=session_page,
    guards=[with_session],
)
async def cancel_on_page(
    request: AnyRequest,
    pages: Inject[Pages],
    booking_id: FromPath[BookingIdInPath],
    actor: Inject[Actor],
    show_booking: Inject[ShowBooking],
    show_cancellation: Inject[ShowCancellation],
    cancel_booking: Inject[CancelBooking],
) -> Response[Any]:
    """With the refund that the form has shown. If it has changed since, the page shows the present one instead."""
    terms = await show_cancellation(actor.user, booking_id)
    if (await form_fields(request)).get("refund") != str(terms.refund.amount):
        booking = await show_booking(actor.user, booking_id)
        return _shown(pages, request, booking, terms, actor, has_changed=True)
    await cancel_booking(actor.user, booking_id)
    return Redirect(pages.address(f"/me/bookings/{booking_id}"), status_code=303)


ROUTES = [book_on_page, show_own_bookings, show_own_booking, pay_on_page, cancel_on_page]


def _shown(
    pages: Pages,
    request: AnyRequest,
    booking: BookingView,
    terms: CancellationTerms | None,
    actor: Actor,
    *,
    has_changed: bool = False,
) -> Response[str]:
    """`terms`: None if the account cannot cancel the booking. `has_changed`: the refund is another than the one that
    was shown."""
    is_unpaid = booking.status is BookingStatus.CONFIRMED and booking.payment_status in UNPAID
    return pages.show(
        request,
        "own_booking.html",
        status=409 if has_changed else 200,
        booking=booking,
        terms=terms,
        link=booking.join_link(actor.user),
        can_be_paid=is_unpaid and terms is not None,
        has_changed=has_changed,
    )
