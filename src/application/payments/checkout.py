"""Opening and closing checkouts at payment gateways."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.bookings.ports import SeatInventory
from application.payments.ports.gateways import Gateways, PaymentGateway, PaymentRequest
from application.payments.ports.records import OpenRequest, PaymentQueries
from application.payments.settlement import SettlePayment
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import User
from domain.authorization import require_owner
from domain.bookings import BookingForbidden
from domain.checkout_return import NO_RETURN_URLS, ReturnUrls
from domain.ids import PayableRef
from domain.money import Money
from domain.payments import NothingToPay, PaymentId


@dataclass(frozen=True, slots=True)
class CloseCheckout:
    """Closes a checkout nobody may pay at any more. What was paid there meanwhile is settled as any late payment."""

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


@dataclass(frozen=True, slots=True)
class OpenCheckout:
    """Asks the gateway for the checkout of a payment and keeps it. Asking again gives the same one: what is known is
    not asked for, since the gateway would be asked for another once the event's title has changed."""

    gateways: Gateways
    payments: PaymentQueries
    places: SeatInventory
    return_urls: ReturnUrls = NO_RETURN_URLS

    async def __call__(self, request: PaymentRequest, gateway: str) -> str | None:
        checkout = await self.gateways.named(gateway).open_checkout(request)
        if checkout is None:
            return None
        await self.places.keep_checkout(request.payment_id, checkout.order_id, checkout.url)
        return checkout.url

    async def keep_return_url(self, payables: Sequence[PayableRef], return_url: str | None) -> None:
        """Where the buyer goes after the checkout; without an address what was kept before stays. It need not be known
        to the gateway, so that it can be another one for the same checkout. Raises `Invalid`."""
        self.return_urls.require_allowed(return_url)
        if return_url is not None:
            await self.places.keep_return_url(payables, return_url)

    async def for_user(self, user: User, payable: PayableRef, *, return_url: str | None = None) -> str | None:
        """For somebody who wants to pay a booking of their own, later or once more."""
        self.return_urls.require_allowed(return_url)
        found = await self._open(payable)
        require_owner(user, found.request.user_id, error=BookingForbidden)
        await self.keep_return_url([payable], return_url)
        return await self._link(found)

    async def for_payable(self, payable: PayableRef) -> str | None:
        """For whoever has just made it. Raises `NothingToPay`."""
        return await self._link(await self._open(payable))

    async def _open(self, payable: PayableRef) -> OpenRequest:
        found = await self.payments.open_request(payable)
        if found is None:
            raise NothingToPay
        return found

    async def _link(self, found: OpenRequest) -> str | None:
        return found.url or await self(found.request, found.gateway)


def refuse_unpayable(price: Money, gateway: PaymentGateway) -> None:
    """Raises `Invalid` for a price that nobody could pay: better when it is named than to whoever books."""
    if not price.is_zero:
        gateway.refuse_price(price)
