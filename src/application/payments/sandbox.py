"""The checkout of the sandbox gateway."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from application.payments.ports.gateways import ReturnAddresses, SandboxControls, SandboxOrder
from application.payments.ports.records import PaymentOverview, PaymentQueries
from application.payments.webhooks import ReceiveWebhook
from application.ports import Clock
from application.use_cases import use_case
from domain.checkout_return import Outcome
from domain.disputes import TRANSITIONS, DisputeStatus
from domain.payments import (
    PaymentNotFound,
)


@dataclass(frozen=True, slots=True)
class SandboxPage:
    """The content of the sandbox's page at `now`, and its two return addresses."""

    order: SandboxOrder
    payment: PaymentOverview
    now: datetime
    success_url: str
    cancel_url: str

    @property
    def can_be_paid(self) -> bool:
        return self.order.state in {"open", "declined"} and (self.time_left is None or self.time_left > timedelta(0))

    @property
    def next_disputes(self) -> Sequence[DisputeStatus]:
        """What can become of the order's dispute next."""
        if self.order.state != "paid":
            return ()
        if self.order.dispute is None:
            return (DisputeStatus.OPEN,)
        return sorted(TRANSITIONS[self.order.dispute], reverse=True)

    @property
    def time_left(self) -> timedelta | None:
        """The time until the hold expires; None where there is no hold."""
        return self.payment.hold_until - self.now if self.payment.hold_until is not None else None


@use_case
class PayAtSandbox:
    """Handles the buttons of the sandbox's page: the sandbox sends a signed webhook, as a real gateway does.

    Raises `PaymentNotFound` where another gateway is configured, also for orders made at the sandbox before.
    """

    controls: SandboxControls
    receive_webhook: ReceiveWebhook
    is_chosen: bool
    payments: PaymentQueries
    returns: ReturnAddresses
    clock: Clock

    async def show(self, order_id: str) -> SandboxPage:
        order = await self._order(order_id)
        return SandboxPage(
            order=order,
            payment=await self.payments.overview(order.payment_id),
            now=self.clock.now(),
            success_url=self.returns.of(order.payment_id, Outcome.SUCCESS),
            cancel_url=self.returns.of(order.payment_id, Outcome.CANCELLED),
        )

    async def _order(self, order_id: str) -> SandboxOrder:
        order = await self.controls.find(order_id) if self.is_chosen else None
        if order is None:
            raise PaymentNotFound
        return order

    async def decide(self, order_id: str, state: Literal["paid", "declined"]) -> None:
        await self._order(order_id)
        await self._receive(await self.controls.decide(order_id, state))

    async def dispute(self, order_id: str, status: DisputeStatus) -> None:
        """Opens or decides the dispute about a paid order, as the payer's bank does."""
        await self._order(order_id)
        await self._receive(await self.controls.dispute(order_id, status))

    async def _receive(self, webhook: tuple[bytes, dict[str, str]] | None) -> None:
        if webhook is not None:
            await self.receive_webhook("sandbox", *webhook)
