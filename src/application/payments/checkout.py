"""Opening and closing checkouts at payment gateways."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from application.payments.ports.gateways import GatewayRefused, Gateways, PaymentGateway, PaymentRequest
from application.payments.ports.records import Checkouts, OpenRequest, PaymentQueries
from application.payments.settlement import SettlePayment
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.authorization import require_owner
from domain.bookings import BookingForbidden, BookingNotFound
from domain.checkout_return import NO_RETURN_URLS, ReturnUrls
from domain.errors import Errors, Unavailable
from domain.ids import PayableRef
from domain.money import Money
from domain.payments import GatewayUnavailable, NothingToPay, PaymentId

CONCURRENT_REQUESTS = 5
"""Gateways limit the rate of requests; each request has its own time limit."""


@use_case
class CloseCheckout:
    """Closes a checkout that must not be paid any more. A payment made meanwhile is settled as a late payment."""

    open_work: OpenUnitOfWork
    gateways: Gateways
    settle_payment: SettlePayment

    async def __call__(self, payment_id: PaymentId) -> None:
        async with self.open_work() as work:
            payment = await work.payments.get(payment_id)
        gateway = self.gateways.named(payment.gateway)
        await gateway.expire_checkout(payment)
        entry = await gateway.look_up(payment)
        await self.settle_payment(payment.gateway, entry.report)


@use_case
class OpenCheckout:
    """Opens the checkout of a payment at its gateway and stores its address. The stored address is used from then on:
    a second request to the gateway would fail where the event's title has changed meanwhile.

    `patience` bounds the time in which requests for several new bookings are started.
    """

    raises: ClassVar[Errors] = (
        BookingNotFound,
        BookingForbidden,
        NothingToPay,
        GatewayRefused,
        GatewayUnavailable,
    )

    gateways: Gateways
    payments: PaymentQueries
    checkouts: Checkouts
    return_urls: ReturnUrls = NO_RETURN_URLS
    patience: timedelta = timedelta(seconds=5)

    async def __call__(self, request: PaymentRequest, gateway: str) -> str | None:
        """Returns None where payments are made on site."""
        checkout = await self.gateways.named(gateway).open_checkout(request)
        if checkout is None:
            return None
        await self.checkouts.save(request.payment_id, checkout.order_id, checkout.url)
        return checkout.url

    async def for_new(
        self, payables: Sequence[PayableRef], *, return_url: str | None = None
    ) -> Mapping[PayableRef, str]:
        """Opens the checkouts of bookings and appointments that were just made, and returns their addresses.

        There is no address where nothing is to be paid online and while the gateway is unavailable: the bookings stand,
        and the address can be requested later. `CONCURRENT_REQUESTS` requests are sent at a time, and no more of them
        once the gateway was unavailable or `patience` has passed.
        """
        if not payables:
            return {}
        slots, stopped = asyncio.Semaphore(CONCURRENT_REQUESTS), asyncio.Event()
        patience = asyncio.get_running_loop().call_later(self.patience.total_seconds(), stopped.set)

        async def open_one(payable: PayableRef) -> tuple[PayableRef, str | None]:
            async with slots:
                if stopped.is_set():
                    return payable, None
                try:
                    return payable, await self.for_payable(payable)
                except Unavailable:
                    stopped.set()
                except (GatewayRefused, NothingToPay):
                    pass
                return payable, None

        try:
            await self.save_return_url(payables, return_url)
            opened = await asyncio.gather(*map(open_one, payables))
        except Unavailable:
            return {}
        finally:
            patience.cancel()
        return {payable: url for payable, url in opened if url is not None}

    async def save_return_url(self, payables: Sequence[PayableRef], return_url: str | None) -> None:
        """Stores where the buyer goes after the checkout; without an address the stored one stays. The gateway has its
        own return address, so one checkout can get another return address. Raises `Invalid`."""
        self.return_urls.require_allowed(return_url)
        if return_url is not None:
            await self.checkouts.save_return_url(payables, return_url)

    async def for_user(self, user: User, payable: PayableRef, *, return_url: str | None = None) -> str | None:
        """For a user who pays their booking later, or tries again. Raises `BookingNotFound`, `BookingForbidden`, and
        `NothingToPay` to its client and to admins only: its state is not disclosed to others."""
        self.return_urls.require_allowed(return_url)
        require_owner(user, await self.payments.client_of(payable), error=BookingForbidden)
        found = await self._open(payable)
        await self.save_return_url([payable], return_url)
        return await self._link(found)

    async def for_payable(self, payable: PayableRef) -> str | None:
        """Raises `NothingToPay`."""
        return await self._link(await self._open(payable))

    async def _open(self, payable: PayableRef) -> OpenRequest:
        found = await self.payments.open_request(payable)
        if found is None:
            raise NothingToPay
        return found

    async def _link(self, found: OpenRequest) -> str | None:
        return found.url or await self(found.request, found.gateway)


def refuse_unpayable(price: Money, gateway: PaymentGateway) -> None:
    """Raises `Invalid` for a price that cannot be paid, when the price is entered instead of when a client books."""
    if not price.is_zero:
        gateway.refuse_price(price)
