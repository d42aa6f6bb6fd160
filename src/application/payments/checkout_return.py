"""The page or redirect for buyers who return from a gateway's checkout."""

from collections.abc import Mapping
from dataclasses import dataclass

from application.payments.ports.gateways import ReturnAddresses, SignedReturns
from application.payments.ports.records import PaymentOverview, PaymentQueries
from application.ports import Clock
from application.use_cases import use_case
from domain.booking_urls import BookingUrls
from domain.checkout_return import Outcome, ReturnStatus, ReturnUrls, return_status, with_parameters


@dataclass(frozen=True, slots=True)
class PaymentReturn:
    """`redirect_to`: the front end's address, with the booking's reference and the status; None where our own page is
    shown. `booking_url`: where the front end shows the booking, if configured. `expects_payment`: the gateway
    redirected to the address for a success."""

    payment: PaymentOverview
    status: ReturnStatus
    redirect_to: str | None
    booking_url: str | None
    expects_payment: bool


@use_case
class ShowPaymentReturn:
    """Handles the request of a buyer whom a gateway redirected back.

    - The status is the stored one. A return changes nothing: the gateway's webhook decides.
    - Where a gateway signs its redirect, an unsigned one is no evidence of a payment.
    - The buyer is redirected to the address given when booking, else to the operator's, else our own page is shown.
    - The result contains nothing about the buyer: an address can end up in a browser's history.
    """

    payments: PaymentQueries
    addresses: ReturnAddresses
    signed_returns: SignedReturns | None
    return_urls: ReturnUrls
    booking_urls: BookingUrls | None
    clock: Clock

    async def __call__(
        self, token: str, outcome: Outcome, parameters: Mapping[str, str], *, look: int = 0
    ) -> PaymentReturn:
        """`parameters`: the query parameters that the gateway added. `look`: how often our page was shown before.
        Raises `PaymentNotFound`."""
        payment = await self.payments.overview(self.addresses.payment_of(token))
        has_succeeded = outcome is Outcome.SUCCESS and self._is_success(payment, parameters)
        status = return_status(
            payment.payment_status,
            is_cancelled=payment.is_cancelled,
            hold_until=payment.hold_until,
            now=self.clock.now(),
            has_succeeded=has_succeeded,
            look=look,
        )
        front_end = self.return_urls.of(payment.return_url)
        shown = {"booking_reference": payment.reference, "status": str(status)}
        return PaymentReturn(
            payment=payment,
            status=status,
            redirect_to=with_parameters(front_end, shown) if front_end is not None else None,
            booking_url=self.booking_urls.of(payment.reference) if self.booking_urls is not None else None,
            expects_payment=has_succeeded,
        )

    def _is_success(self, payment: PaymentOverview, parameters: Mapping[str, str]) -> bool:
        if self.signed_returns is None or payment.gateway != self.signed_returns.name:
            return True
        return self.signed_returns.is_success(payment.payment_id, parameters)
