"""Contract E: paying for an appointment, online or on site."""

from litestar import post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.appointments.payment import CoachingPayment, RecordCoachingPayment
from interfaces.http.authentication import signed_in
from interfaces.http.coaching_api.appointments import CoachingBody, coaching_body, coaching_id
from interfaces.http.injection import Given
from interfaces.http.schemas import PaymentLinkRequest

TAGS = ["Contract E: appointments"]


class CoachingPaymentLink(Struct):
    payment_url: str | None


@post("/booking/{booking_id:str}/pay", operation_id="payCoaching", tags=TAGS, status_code=200, guards=[signed_in])
async def ask_for_payment_link(
    booking_id: FromPath[str],
    actor: Given[Actor],
    coaching_payment: Given[CoachingPayment],
    data: JSONBody[PaymentLinkRequest | None] = None,
) -> CoachingPaymentLink:
    return_url = data.return_url if data else None
    return CoachingPaymentLink(await coaching_payment(actor.user, coaching_id(booking_id), return_url=return_url))


@post(
    "/booking/{booking_id:str}/payment",
    operation_id="recordCoachingPayment",
    tags=TAGS,
    status_code=200,
    guards=[signed_in],
)
async def record_payment(
    booking_id: FromPath[str], actor: Given[Actor], record_coaching_payment: Given[RecordCoachingPayment]
) -> CoachingBody:
    return coaching_body(await record_coaching_payment(actor.user, coaching_id(booking_id)))


ROUTES = [ask_for_payment_link, record_payment]
