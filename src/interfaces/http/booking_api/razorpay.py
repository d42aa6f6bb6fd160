"""Contract B 15 and 16, and Razorpay's webhook."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from application.payments.callbacks import ConfirmPayment, ReportPaymentFailure
from application.payments.ports.records import PaidFor
from application.payments.webhooks import ReceiveWebhook
from domain.payments import PaymentStatus
from interfaces.http.authentication import public
from interfaces.http.booking_api.payments import Received
from interfaces.http.injection import Inject

TAGS = ["Contract B: payments"]
RAZORPAY = "razorpay"

Name = Annotated[str, Meta(min_length=1, max_length=255)]
"""An id of Razorpay."""


class PaidCallback(Struct):
    razorpay_payment_id: Name
    razorpay_order_id: Name
    razorpay_signature: Name


class FailedCallback(Struct):
    """The data that Checkout passed to the client. None of it is signed, and only the order is used."""

    razorpay_order_id: Name
    razorpay_payment_id: str | None = None
    error_code: str | None = None
    error_description: str | None = None


class BookingOfPayment(Struct):
    """`id` is a number for a seat in an event, a UUID for an appointment."""

    id: int | UUID
    booking_reference: str
    payment_status: PaymentStatus


class CallbackTaken(Struct):
    message: str
    booking: BookingOfPayment


@post("/payment/success", operation_id="confirmPayment", tags=TAGS, status_code=200, opt=public)
async def confirm_payment(data: JSONBody[PaidCallback], confirm_payment: Inject[ConfirmPayment]) -> CallbackTaken:
    """Confirms a payment with the signed data that Razorpay's Checkout passes to the client. Repeating it, or the
    webhook of the same payment, changes nothing more."""
    booking = await confirm_payment(data.razorpay_order_id, data.razorpay_payment_id, data.razorpay_signature)
    return CallbackTaken("Payment processed successfully", _booking(booking))


@post("/payment/failure", operation_id="reportFailedPayment", tags=TAGS, status_code=200, opt=public)
async def report_payment_failure(
    data: JSONBody[FailedCallback], report_payment_failure: Inject[ReportPaymentFailure]
) -> CallbackTaken:
    """Reports a failed attempt to pay an order. The report is unsigned, so the payment is looked up at Razorpay; the
    answer has its real state."""
    booking = await report_payment_failure(RAZORPAY, data.razorpay_order_id)
    return CallbackTaken("Payment failure recorded", _booking(booking))


@post("/payment/razorpay/webhook", operation_id="razorpayWebhook", tags=TAGS, status_code=200, opt=public)
async def razorpay_webhook(request: Request[Any, Any, Any], receive_webhook: Inject[ReceiveWebhook]) -> Received:
    """Receives Razorpay's webhooks. Rejects requests with an invalid signature."""
    await receive_webhook(RAZORPAY, await request.body(), dict(request.headers))
    return Received("received")


ROUTES = [confirm_payment, report_payment_failure, razorpay_webhook]


def _booking(booking: PaidFor) -> BookingOfPayment:
    return BookingOfPayment(booking.payable.id, booking.reference, booking.payment_status)
