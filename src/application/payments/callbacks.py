"""Callbacks of the checkout in the client's browser: a signed success, or an unsigned report of a failure."""

from contextlib import suppress
from typing import ClassVar

from application.idempotency import SAYS_THE_SAME
from application.payments.ports.gateways import GatewayRefused, Gateways, SignedCheckouts
from application.payments.ports.records import PaidFor, PaymentQueries
from application.payments.settlement import Settled, SettlePayment
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.errors import Errors
from domain.payments import (
    UNPAID,
    GatewayUnavailable,
    GatewayUpdate,
    InvalidSignature,
    Payment,
    PaymentMismatch,
    PaymentNotFound,
    PaymentUpdate,
)


@use_case
class ConfirmPayment:
    """Verifies a checkout's signed confirmation that an order was paid, and settles the payment. The webhook may arrive
    before, after or never.

    - The signature is verified before anything is looked up or disclosed.
    - The received amount is looked up at the gateway. While the gateway is unavailable the signature is sufficient: an
      order is paid in full or not at all.
    - Every other open checkout of the payment is closed, so that it cannot be paid twice.
    """

    raises: ClassVar[Errors] = (InvalidSignature, PaymentNotFound, PaymentMismatch, GatewayRefused, GatewayUnavailable)

    open_work: OpenUnitOfWork
    checkouts: SignedCheckouts | None
    settle_payment: SettlePayment
    payments: PaymentQueries

    async def __call__(self, order_id: str, gateway_id: str, signature: str) -> PaidFor:
        if self.checkouts is None:
            raise GatewayUnavailable
        self.checkouts.verify_checkout(order_id, gateway_id, signature)
        payment = await _payment_of(self.open_work, self.checkouts.name, order_id)
        if payment.status in UNPAID or payment.gateway_id != gateway_id:
            await self._settle(self.checkouts, payment, gateway_id)
        return await self.payments.paid_for(payment.id)

    async def _settle(self, checkouts: SignedCheckouts, payment: Payment, gateway_id: str) -> None:
        settled = await self.settle_payment(checkouts.name, await checkouts.confirm(payment, gateway_id))
        if settled is Settled.DIFFERS:
            raise PaymentMismatch
        if settled in {Settled.RECEIVED, Settled.REINSTATED}:
            async with self.open_work() as work:
                await work.messages.enqueue_checkout_close(payment)
                await work.commit(made=SAYS_THE_SAME)


@use_case
class ReportPaymentFailure:
    """Handles an unsigned report that paying an order failed: it only causes a look-up at the gateway.

    - The result of the look-up is applied. While the gateway is unavailable nothing changes.
    - A completed payment stays completed, and no seat is released.
    """

    raises: ClassVar[Errors] = (PaymentNotFound,)

    open_work: OpenUnitOfWork
    gateways: Gateways
    settle_payment: SettlePayment
    payments: PaymentQueries

    async def __call__(self, gateway: str, order_id: str) -> PaidFor:
        """Returns the current state of the booking."""
        payment = await _payment_of(self.open_work, gateway, order_id)
        if payment.status in UNPAID:
            with suppress(GatewayUnavailable, GatewayRefused):
                entry = await self.gateways.named(gateway).look_up(payment)
                await self.settle_payment(gateway, entry.report)
        return await self.payments.paid_for(payment.id)


async def _payment_of(open_work: OpenUnitOfWork, gateway: str, order_id: str) -> Payment:
    async with open_work() as work:
        place = await work.payments.find_payable(gateway, GatewayUpdate(order_id, PaymentUpdate.OPEN))
        if place is None:
            raise PaymentNotFound
        return await work.payments.get(place.payment_id)
