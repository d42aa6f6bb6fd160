"""Payments on site: no request is sent to a gateway, and there is no checkout."""

from collections.abc import Mapping

from application.payments.ports.gateways import (
    Checkout,
    GatewayEvent,
    GatewayRecord,
    GatewayRefused,
    PaymentRequest,
    RefundAnswer,
    RefundRequest,
)
from domain.money import Money
from domain.payments import OFFLINE, GatewayUpdate, InvalidSignature, Payment, PaymentUpdate


class OfflineGateway:
    name = OFFLINE
    holds_seats = False

    def refuse_price(self, price: Money) -> None: ...

    async def open_checkout(self, request: PaymentRequest) -> Checkout | None:  # noqa: ARG002
        return None

    async def look_up(self, payment: Payment) -> GatewayRecord:
        nothing = Money(payment.price.amount * 0, payment.price.currency)
        return GatewayRecord(GatewayUpdate(payment.order_id or "", PaymentUpdate.OPEN), nothing, nothing)

    async def expire_checkout(self, payment: Payment) -> None: ...

    async def refund(self, request: RefundRequest) -> RefundAnswer:  # noqa: ARG002
        raise GatewayRefused("The facilitator hands this refund back")

    def read_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:  # noqa: ARG002
        raise InvalidSignature
