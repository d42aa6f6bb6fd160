"""Reconciliation of open payments with their gateways."""

import asyncio
from datetime import timedelta

from application.payments.checkout import CONCURRENT_REQUESTS, CloseCheckout, OpenCheckout
from application.payments.hold_expiry import AT_ONCE
from application.payments.ports.gateways import GatewayRefused, Gateways
from application.payments.ports.records import Checkouts, PaymentQueries
from application.payments.settlement import SettlePayment
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.payments import GatewayUnavailable, Payment, PaymentId

LOOK_UP_AFTER = timedelta(minutes=2)
"""A webhook usually arrives within seconds; payments that are open for longer are looked up."""


@use_case
class Reconcile:
    """Looks up payments at their gateways that are open for longer than a webhook takes. If all webhooks are lost,
    every payment is settled within minutes.

    - The interval between two look-ups of a payment doubles, up to an hour, for as long as gateways can still authorise
      (three days).
    - A checkout whose creation was never confirmed is requested again with the same idempotency key, since it may
      exist. It is closed where nothing is to be paid any more.
    - Up to `CONCURRENT_REQUESTS` look-ups run concurrently. An unavailable gateway is skipped until the next run.
    """

    open_work: OpenUnitOfWork
    payments: PaymentQueries
    checkouts: Checkouts
    gateways: Gateways
    open_checkout: OpenCheckout
    close_checkout: CloseCheckout
    settle_payment: SettlePayment

    async def __call__(self) -> int:
        """Returns how many payments were looked up."""
        asked, away = 0, set[str]()
        while asked < AT_ONCE:
            due = await self.checkouts.claim_to_look_up(
                older_than=LOOK_UP_AFTER, limit=CONCURRENT_REQUESTS, apart_from=away
            )
            away.update(name for name in await asyncio.gather(*map(self._ask, due)) if name is not None)
            asked += len(due)
            if len(due) < CONCURRENT_REQUESTS:
                break
        return asked

    async def _ask(self, payment_id: PaymentId) -> str | None:
        """Returns the name of the gateway if it is unavailable."""
        async with self.open_work() as work:
            payment = await work.payments.get(payment_id)
        try:
            await self._look_up(payment)
        except GatewayUnavailable:
            return payment.gateway
        except GatewayRefused:
            return None
        return None

    async def _look_up(self, payment: Payment) -> None:
        if payment.order_id is None:
            await self.open_checkout(*await self.payments.request_of(payment.id))
            if await self.payments.open_request(payment.payable) is None:
                await self.close_checkout(payment.id)
            return
        entry = await self.gateways.named(payment.gateway).look_up(payment)
        await self.settle_payment(payment.gateway, entry.report)
