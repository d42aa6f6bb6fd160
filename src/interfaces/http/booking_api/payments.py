"""Payments: payment links, cancellation terms, payments on site, refunds, the sandbox gateway's webhook."""

from decimal import Decimal
from typing import Any, Literal

from litestar import Request, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.payments.checkout import OpenCheckout
from application.payments.offline import RecordOfflinePayment
from application.payments.refunds import RefundBooking, ShowCancellation
from application.payments.webhooks import ReceiveWebhook
from domain.api_keys import Scope
from domain.disputes import DisputeStatus
from domain.ids import BookingRef
from domain.payments import PaymentStatus
from interfaces.http.authentication import facilitators, public, signed_in
from interfaces.http.booking_api.bookings import RefundBody, refund_body
from interfaces.http.booking_api.events import RefundTierBody
from interfaces.http.injection import Inject
from interfaces.http.parameters import BookingIdInPath
from interfaces.http.schemas import PaymentLinkRequest, number

TAGS = ["Contract B: payments"]


class PaymentLink(Struct):
    payment_url: str | None


class CancellationBody(Struct):
    """The refund if the booking is cancelled now. While `dispute` is `open`, it is made when the dispute is won."""

    booking_id: int
    paid: float
    refund_percent: int
    refund_amount: float
    currency: str
    refund_policy: list[RefundTierBody]
    dispute: DisputeStatus | None


class PaymentOfBooking(Struct):
    message: str
    booking_id: int
    payment_status: PaymentStatus


class RefundRequest(Struct):
    """`amount` is in the currency of the booking; if omitted, the rest of the payment is refunded."""

    amount: Decimal | None = None


class BookingRefunded(Struct):
    message: str
    booking_id: int
    refund: RefundBody


class Received(Struct):
    status: Literal["received"]


@post(
    "/bookings/{booking_id:str}/pay",
    operation_id="payBooking",
    tags=TAGS,
    status_code=200,
    guards=[signed_in.with_scope(Scope.PAYMENTS_WRITE)],
)
async def request_payment_link(
    booking_id: FromPath[BookingIdInPath],
    actor: Inject[Actor],
    open_checkout: Inject[OpenCheckout],
    data: JSONBody[PaymentLinkRequest | None] = None,
) -> PaymentLink:
    """Returns the address where the caller pays for a booking: the same address as before, if there is one. `null` if
    the operator accepts payments on site only."""
    return_url = data.return_url if data else None
    return PaymentLink(await open_checkout.for_user(actor.user, BookingRef(booking_id), return_url=return_url))


@get(
    "/bookings/{booking_id:str}/cancellation",
    operation_id="showCancellation",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.PAYMENTS_READ)],
)
async def show_cancellation_terms(
    booking_id: FromPath[BookingIdInPath], actor: Inject[Actor], show_cancellation: Inject[ShowCancellation]
) -> CancellationBody:
    terms = await show_cancellation(actor.user, booking_id)
    currency = terms.refund.currency
    return CancellationBody(
        booking_id=booking_id,
        paid=number(terms.paid.amount, currency),
        refund_percent=terms.percent,
        refund_amount=number(terms.refund.amount, currency),
        currency=currency,
        refund_policy=[RefundTierBody(tier.hours_before, tier.percent) for tier in terms.policy.tiers],
        dispute=terms.dispute,
    )


@post(
    "/facilitator/bookings/{booking_id:str}/payment",
    operation_id="recordPaymentOnTheSpot",
    tags=TAGS,
    status_code=200,
    guards=[facilitators.with_scope(Scope.PAYMENTS_WRITE)],
)
async def record_payment_on_the_spot(
    booking_id: FromPath[BookingIdInPath], actor: Inject[Actor], record_offline_payment: Inject[RecordOfflinePayment]
) -> PaymentOfBooking:
    """Records that the facilitator has received the payment for a booking on site. A repeated call records nothing
    more."""
    status = await record_offline_payment.by_facilitator(actor.user, BookingRef(booking_id))
    return PaymentOfBooking("Payment recorded", booking_id, status)


@post(
    "/bookings/{booking_id:str}/refund",
    operation_id="refundBooking",
    tags=TAGS,
    status_code=200,
    guards=[facilitators.with_scope(Scope.PAYMENTS_WRITE)],
)
async def refund_payment_of_booking(
    booking_id: FromPath[BookingIdInPath],
    actor: Inject[Actor],
    refund_booking: Inject[RefundBooking],
    data: JSONBody[RefundRequest | None] = None,
) -> BookingRefunded:
    refund = await refund_booking(actor.user, booking_id, data.amount if data else None)
    return BookingRefunded("Refund requested", booking_id, refund_body(refund))


@post("/payment/sandbox/webhook", operation_id="sandboxWebhook", include_in_schema=False, status_code=200, opt=public)
async def sandbox_webhook(request: Request[Any, Any, Any], receive_webhook: Inject[ReceiveWebhook]) -> Received:
    """Receives the sandbox gateway's webhooks. Rejects requests with an invalid signature."""
    await receive_webhook("sandbox", await request.body(), dict(request.headers))
    return Received("received")


ROUTES = [
    request_payment_link,
    show_cancellation_terms,
    record_payment_on_the_spot,
    refund_payment_of_booking,
    sandbox_webhook,
]
