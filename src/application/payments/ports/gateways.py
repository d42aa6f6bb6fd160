"""Ports of payment gateways. Each call may be repeated: Convene's ids are the idempotency keys at the gateway.

Every method that sends a request raises `GatewayUnavailable` if the gateway is unreachable, slow or overloaded, and
`GatewayRefused` if the gateway rejects a valid request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from domain.accounts import UserId
from domain.checkout_return import Outcome
from domain.disputes import Dispute, DisputeStatus
from domain.errors import Conflict
from domain.events import EventId
from domain.ids import PayableRef
from domain.money import Money
from domain.payments import DisputeUpdate, GatewayUpdate, Payment, PaymentId, RefundUpdate
from domain.refunds import RefundId


class GatewayRefused(Conflict):
    code = "gateway_refused"
    message = "The payment gateway refused"


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """`payment_id` is the idempotency key: two requests make one checkout. `until` is when the hold expires."""

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
    """`order_id` is the gateway's id of the checkout or order; `url` is where the client pays."""

    order_id: str
    url: str


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """`refund_id` is the idempotency key: two requests make one refund."""

    refund_id: RefundId
    payment: Payment
    amount: Money


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """`settled` is false while the gateway has accepted the refund and is still processing it."""

    gateway_refund_id: str
    settled: bool


@dataclass(frozen=True, slots=True)
class GatewayRecord:
    """A gateway's record of one order, and of the disputes about its payment."""

    report: GatewayUpdate
    received: Money
    refunded: Money
    disputes: Sequence[Dispute] = ()


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """A verified webhook. `report` is None for kinds that are not handled."""

    id: str
    kind: str
    report: GatewayUpdate | RefundUpdate | DisputeUpdate | None
    payload: dict[str, Any]


class PaymentGateway(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def holds_seats(self) -> bool:
        """Whether the hold of an unpaid seat expires. It does not where payments are made on site."""
        ...

    def refuse_price(self, price: Money) -> None:
        """Raises `Invalid` for a price that cannot be paid at this gateway."""
        ...

    async def open_checkout(self, request: PaymentRequest) -> Checkout | None:
        """Opens a checkout; returns None where payments are made on site."""
        ...

    async def look_up(self, payment: Payment) -> GatewayRecord:
        """Returns the gateway's current record of the payment."""
        ...

    async def expire_checkout(self, payment: Payment) -> None:
        """Closes the checkout. Does nothing when it is already closed or paid."""
        ...

    async def refund(self, request: RefundRequest) -> RefundAnswer:
        """Raises `PaymentDisputed` if the gateway refuses because of a dispute."""
        ...

    def read_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        """Verifies the signature over the raw body. Raises `InvalidSignature`, also for a timestamp that is too old."""
        ...


class SignedCheckouts(Protocol):
    """A gateway whose checkout returns a signed confirmation of a payment to the client's browser."""

    @property
    def name(self) -> str: ...

    def verify_checkout(self, order_id: str, gateway_id: str, signature: str) -> None:
        """Raises `InvalidSignature`."""
        ...

    async def confirm(self, payment: Payment, gateway_id: str) -> GatewayUpdate:
        """Returns the update of a payment whose success was signed; from the signature alone while the gateway is
        unavailable. Raises `PaymentMismatch` for the payment of another order, and `GatewayRefused`."""
        ...


class SignedReturns(Protocol):
    """A gateway that signs the query parameters of its redirect."""

    @property
    def name(self) -> str: ...

    def is_success(self, payment_id: PaymentId, parameters: Mapping[str, str]) -> bool:
        """Whether the signed parameters confirm that this payment was made."""
        ...


class ReturnAddresses(Protocol):
    """Addresses of this service that gateways redirect buyers to. They cannot be guessed."""

    def of(self, payment_id: PaymentId, outcome: Outcome) -> str: ...

    def payment_of(self, token: str) -> PaymentId:
        """`token` is the part of an address that names the payment. Raises `PaymentNotFound`."""
        ...


class Gateways(Protocol):
    """The configured gateways. A payment stays with the gateway it was made at; new payments use `chosen`."""

    @property
    def chosen(self) -> PaymentGateway: ...

    def named(self, name: str) -> PaymentGateway:
        """Raises `GatewayUnavailable` for a gateway that is no longer configured."""
        ...


@dataclass(frozen=True, slots=True)
class SandboxOrder:
    """An order of the sandbox, as its page shows it."""

    id: str
    payment_id: PaymentId
    title: str
    price: Money
    state: Literal["open", "paid", "declined", "expired"]
    refunded: Money
    dispute: DisputeStatus | None = None


class SandboxControls(Protocol):
    """Controls of the sandbox gateway: the buttons of its page."""

    async def find(self, order_id: str) -> SandboxOrder | None: ...

    async def decide(self, order_id: str, state: Literal["paid", "declined"]) -> tuple[bytes, dict[str, str]] | None:
        """Returns the signed webhook that a real gateway would send; None when the order is paid or expired. A declined
        order can still be paid."""
        ...

    async def dispute(self, order_id: str, status: DisputeStatus) -> tuple[bytes, dict[str, str]] | None:
        """Opens or decides the dispute about a paid order. Returns the signed webhook; None where the order has no
        such dispute."""
        ...
