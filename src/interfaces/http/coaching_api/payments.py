"""Contract E: payment of an appointment, online or on site."""

from litestar import post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.appointments.payment import AppointmentPayment, RecordAppointmentPayment
from domain.api_keys import Scope
from interfaces.http.authentication import signed_in
from interfaces.http.coaching_api.appointments import AppointmentBody, appointment_body
from interfaces.http.coaching_api.parameters import AppointmentIdInPath
from interfaces.http.injection import Inject
from interfaces.http.schemas import PaymentLinkRequest

TAGS = ["Contract E: appointments"]


class AppointmentPaymentLink(Struct):
    payment_url: str | None


@post(
    "/booking/{booking_id:str}/pay",
    operation_id="payCoaching",
    tags=TAGS,
    status_code=200,
    guards=[signed_in.with_scope(Scope.PAYMENTS_WRITE)],
)
async def request_payment_link(
    booking_id: FromPath[AppointmentIdInPath],
    actor: Inject[Actor],
    appointment_payment: Inject[AppointmentPayment],
    data: JSONBody[PaymentLinkRequest | None] = None,
) -> AppointmentPaymentLink:
    return_url = data.return_url if data else None
    return AppointmentPaymentLink(await appointment_payment(actor.user, booking_id, return_url=return_url))


@post(
    "/booking/{booking_id:str}/payment",
    operation_id="recordCoachingPayment",
    tags=TAGS,
    status_code=200,
    guards=[signed_in.with_scope(Scope.PAYMENTS_WRITE)],
)
async def record_payment(
    booking_id: FromPath[AppointmentIdInPath],
    actor: Inject[Actor],
    record_appointment_payment: Inject[RecordAppointmentPayment],
) -> AppointmentBody:
    return appointment_body(await record_appointment_payment(actor.user, booking_id))


ROUTES = [request_payment_link, record_payment]
