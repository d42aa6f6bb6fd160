"""What the core needs of a payment gateway. Each call may be repeated: ours are idempotent at the gateway by our ids.

Every method that asks the gateway raises `GatewayUnavailable` when the gateway is away, slow or overrun, and
`GatewayRefused` when it understood and said no.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from domain.accounts import UserId
from domain.checkout_return import Outcome
from domain.errors import Conflict
from domain.events import EventId
from domain.ids import PayableRef
from domain.money import Money
from domain.payments import GatewayUpdate, Payment, PaymentId, RefundUpdate
from domain.refunds import RefundId


class GatewayRefused(Conflict):
    code = "gateway_refused"
    message = "The payment gateway refused"


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """`payment_id` is the idempotency key: asking twice makes one checkout. `until` is when the place is given up."""

    payment_id: PaymentId
    payable: PayableRef
    reference: str
    event_id: EventId | None
    user_id: UserId
    user_name: str
    user_email: str
    facilitator_id: UserId
    price: Money
    title: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Checkout:
    """`order_id` is the gateway's name for what was asked; `url` is where the person pays."""

    order_id: str
    url: str


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """`refund_id` is the idempotency key: asking twice gives back once."""

    refund_id: RefundId
    payment: Payment
    amount: Money


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """`settled` is false while the gateway has accepted it and is still working on it."""

    gateway_refund_id: str
    settled: bool


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What a gateway has on its books for one order."""

    report: GatewayUpdate
    received: Money
    refunded: Money


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """A verified webhook. `report` is None for kinds that mean nothing to us."""

    id: str
    kind: str
    report: GatewayUpdate | RefundUpdate | None
    payload: dict[str, Any]


class PaymentGateway(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def holds_seats(self) -> bool:
        """Whether an unpaid place is given up after a time; not where people pay on the spot."""
        ...

    def refuse_price(self, price: Money) -> None:
        """Raises `Invalid` for a price that nobody could ever pay there."""
        ...

    async def open_checkout(self, request: PaymentRequest) -> Checkout | None:
        """Where the person pays; None where money changes hands elsewhere."""
        ...

    async def look_up(self, payment: Payment) -> LedgerEntry:
        """What the gateway says of it now."""
        ...

    async def expire_checkout(self, payment: Payment) -> None:
        """Nothing can be paid there any more; does nothing when that is so already, or when it was paid."""
        ...

    async def refund(self, request: RefundRequest) -> RefundAnswer: ...

    def read_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        """Verifies the signature over the raw body. Raises `InvalidSignature`, also for what is too old."""
        ...


class SignedCheckouts(Protocol):
    """A gateway whose checkout, in the person's browser, hands out a signed word that an order was paid."""

    @property
    def name(self) -> str: ...

    def verify_checkout(self, order_id: str, gateway_id: str, signature: str) -> None:
        """Raises `InvalidSignature`."""
        ...

    async def confirm(self, payment: Payment, gateway_id: str) -> GatewayUpdate:
        """What there is of a payment whose success was signed; by the signature alone where the gateway is away.
        Raises `PaymentMismatch` when it was for another order, and `GatewayRefused`."""
        ...


class SignedReturns(Protocol):
    """A gateway that signs the query parameters with which it sends a buyer back."""

    @property
    def name(self) -> str: ...

    def is_success(self, payment_id: PaymentId, parameters: Mapping[str, str]) -> bool:
        """Whether the gateway says, signed, that this payment was made."""
        ...


class ReturnAddresses(Protocol):
    """The addresses of ours that gateways send buyers back to. They cannot be guessed."""

    def of(self, payment_id: PaymentId, outcome: Outcome) -> str: ...

    def payment_of(self, token: str) -> PaymentId:
        """`token` is the part of an address that names the payment. Raises `PaymentNotFound`."""
        ...


class Gateways(Protocol):
    """Those this house can talk to. A payment stays with the gateway it was made at, whichever is chosen today."""

    @property
    def chosen(self) -> PaymentGateway: ...

    def named(self, name: str) -> PaymentGateway:
        """Raises `GatewayUnavailable` for one that is no longer configured."""
        ...


@dataclass(frozen=True, slots=True)
class SandboxOrder:
    """What the sandbox's page shows."""

    id: str
    payment_id: PaymentId
    title: str
    price: Money
    state: Literal["open", "paid", "declined", "expired"]
    refunded: Money


class SandboxControls(Protocol):
    """Where people pay at the sandbox gateway: by a button."""

    async def find(self, order_id: str) -> SandboxOrder | None: ...

    async def decide(self, order_id: str, state: Literal["paid", "declined"]) -> tuple[bytes, dict[str, str]] | None:
        """Answers with the signed webhook a real gateway would now send; None when there is nothing to decide any
        more. A declined order can still be paid."""
        ...
