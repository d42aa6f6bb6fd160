"""Endpoints for services such as the CRM. They authenticate by `BACKEND_SERVICE_TOKEN`."""

import hmac
from typing import NewType

from litestar import post
from litestar.params import JSONBody
from msgspec import Struct

from application.payments.offline import RecordOfflinePayment
from domain.accounts import UserId
from domain.errors import Unauthenticated
from domain.events import EventId
from domain.ids import BookingId
from domain.payments import PaymentStatus
from interfaces.http.authentication import SERVICE_TOKEN, Connection, bearer_token
from interfaces.http.injection import Inject, guard
from interfaces.http.schemas import BodyId

ServiceToken = NewType("ServiceToken", str)


class OfflinePayment(Struct):
    booking_id: BodyId
    user_id: BodyId
    event_id: BodyId


class PaymentRecorded(Struct):
    message: str
    booking_id: int
    payment_status: PaymentStatus


@guard(SERVICE_TOKEN, Unauthenticated)
async def services(connection: Connection, expected: Inject[ServiceToken]) -> None:
    """Requires the service token; access tokens of users are rejected."""
    if not hmac.compare_digest(bearer_token(connection).encode(), expected.encode()):
        raise Unauthenticated


@post(
    "/service/offline-payments",
    operation_id="recordOfflinePayment",
    tags=["Services"],
    status_code=200,
    guards=[services],
)
async def record_payment(
    data: JSONBody[OfflinePayment], record_offline_payment: Inject[RecordOfflinePayment]
) -> PaymentRecorded:
    status = await record_offline_payment.by_service(
        BookingId(data.booking_id), user_id=UserId(data.user_id), event_id=EventId(data.event_id)
    )
    return PaymentRecorded("Payment recorded", data.booking_id, status)


ROUTES = [record_payment]
