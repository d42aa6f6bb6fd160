"""A payment gateway in memory, whose behaviour a test sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from application.payments.ports.gateways import (
    Checkout,
    GatewayEvent,
    GatewayRecord,
    GatewayRefused,
    PaymentGateway,
    PaymentRequest,
    RefundAnswer,
    RefundRequest,
)
from domain.disputes import Dispute, DisputeStatus, PaymentDisputed
from domain.errors import Invalid
from domain.money import Money
from domain.payments import (
    DisputeUpdate,
    GatewayUnavailable,
    GatewayUpdate,
    InvalidSignature,
    Payment,
    PaymentId,
    PaymentMismatch,
    PaymentUpdate,
)
from domain.refunds import RefundId


class Behaviour(Enum):
    ACCEPTS = auto()
    REFUSES = auto()
    UNAVAILABLE = auto()
    LOSES_ANSWERS = auto()
    """Carries out the request; the answer does not arrive."""


@dataclass(frozen=True, slots=True)
class Order:
    id: str
    payment_id: PaymentId
    price: Money
    state: PaymentUpdate = PaymentUpdate.OPEN
    is_closed: bool = False
    gateway_id: str | None = None


@dataclass
class MemoryGateway:
    """Without `holds_seats` payments are made on site. Orders and refunds are kept once for each idempotency key.
    Webhooks are objects of `GatewayEvent` under the bytes that stand for them; a request without the header `signature`
    is not signed."""

    name: str = "gateway"
    holds_seats: bool = True
    behaviour: Behaviour = Behaviour.ACCEPTS
    refunds_are_settled: bool = True
    maximum: Money | None = None
    """A higher price is refused."""
    orders: dict[PaymentId, Order] = field(default_factory=dict)
    refunds: dict[RefundId, RefundRequest] = field(default_factory=dict)
    disputes: dict[PaymentId, list[Dispute]] = field(default_factory=dict)
    webhooks: dict[bytes, GatewayEvent] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    lost_answers: int = 0
    """As many calls are carried out, and their answers do not arrive."""

    def refuse_price(self, price: Money) -> None:
        if self.maximum is not None and price.amount > self.maximum.amount:
            raise Invalid({"price": f"Must be at most {self.maximum}"})

    async def open_checkout(self, request: PaymentRequest) -> Checkout | None:
        if not self.holds_seats:
            return None
        self._begin("open_checkout")
        order = Order(f"order-{self.name}-{request.payment_id.int}", request.payment_id, request.price)
        order = self.orders.setdefault(request.payment_id, order)
        self._end()
        return Checkout(order.id, f"https://{self.name}.example/{order.id}")

    async def look_up(self, payment: Payment) -> GatewayRecord:
        self._begin("look_up")
        update = self.update(payment.id)
        refunded = sum(each.amount.amount for each in self.refunds.values() if each.payment.id == payment.id)
        received = payment.price.amount * (update.report is PaymentUpdate.RECEIVED)
        self._end()
        currency = payment.price.currency
        return GatewayRecord(
            update,
            Money(received, currency),
            Money(payment.price.amount * 0 + refunded, currency),
            tuple(self.disputes.get(payment.id, ())),
        )

    async def expire_checkout(self, payment: Payment) -> None:
        self._begin("expire_checkout")
        order = self.orders.get(payment.id)
        if order is not None and order.state is not PaymentUpdate.RECEIVED:
            self.orders[payment.id] = replace(order, is_closed=True)
        self._end()

    async def refund(self, request: RefundRequest) -> RefundAnswer:
        self._begin("refund")
        if request.refund_id not in self.refunds and self._is_disputed(request):
            raise PaymentDisputed
        self.refunds.setdefault(request.refund_id, request)
        self._end()
        return RefundAnswer(f"refund-{request.refund_id.int}", self.refunds_are_settled)

    def _is_disputed(self, request: RefundRequest) -> bool:
        """Whether a dispute is open that withdraws money, or lost disputes have left less than the refund."""
        disputes = self.disputes.get(request.payment.id, ())
        lost = sum(each.amount.amount for each in disputes if each.status is DisputeStatus.LOST)
        is_open = any(each.status is DisputeStatus.OPEN and not each.is_inquiry for each in disputes)
        return is_open or request.amount.amount > request.payment.price.amount - lost

    def read_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        if "signature" not in headers:
            raise InvalidSignature
        return self.webhooks[body]

    def verify_checkout(self, order_id: str, gateway_id: str, signature: str) -> None:
        if signature != f"{order_id}|{gateway_id}":
            raise InvalidSignature

    async def confirm(self, payment: Payment, gateway_id: str) -> GatewayUpdate:
        self._begin("confirm")
        self._end()
        update = self.update(payment.id)
        if update.gateway_id != gateway_id:
            raise PaymentMismatch
        return update

    def pay(self, payment_id: PaymentId) -> GatewayUpdate:
        """The client pays the order of this payment. Returns the update about it."""
        order = self.orders[payment_id]
        assert not order.is_closed, "a closed checkout cannot be paid"
        paid = replace(order, state=PaymentUpdate.RECEIVED, gateway_id=f"pay-{payment_id.int}")
        self.orders[payment_id] = paid
        return self.update(payment_id)

    def decline(self, payment_id: PaymentId) -> GatewayUpdate:
        self.orders[payment_id] = replace(self.orders[payment_id], state=PaymentUpdate.FAILED)
        return self.update(payment_id)

    def dispute(
        self,
        payment_id: PaymentId,
        status: DisputeStatus = DisputeStatus.OPEN,
        *,
        number: int = 1,
        amount: Money | None = None,
        is_inquiry: bool = False,
    ) -> DisputeUpdate:
        """The bank opens or decides a dispute of this payment. Returns the update about it."""
        order = self.orders[payment_id]
        assert order.gateway_id is not None, "a payment that was not received cannot be disputed"
        dispute_id = f"dispute-{payment_id.int}-{number}"
        others = [each for each in self.disputes.get(payment_id, []) if each.id != dispute_id]
        dispute = Dispute(dispute_id, amount or order.price, status, is_inquiry, "fraudulent")
        self.disputes[payment_id] = [*others, dispute]
        return DisputeUpdate(dispute, order.gateway_id)

    def update(self, payment_id: PaymentId) -> GatewayUpdate:
        """The current state of the payment's order."""
        order = self.orders[payment_id]
        amount = order.price if order.state is PaymentUpdate.RECEIVED else None
        return GatewayUpdate(order.id, order.state, payment_id, order.gateway_id, amount)

    def _begin(self, call: str) -> None:
        self.calls.append(call)
        if self.behaviour is Behaviour.UNAVAILABLE:
            raise GatewayUnavailable
        if self.behaviour is Behaviour.REFUSES:
            raise GatewayRefused

    def _end(self) -> None:
        if self.lost_answers or self.behaviour is Behaviour.LOSES_ANSWERS:
            self.lost_answers = max(0, self.lost_answers - 1)
            raise GatewayUnavailable


class MemoryGateways:
    """The first is the chosen one."""

    def __init__(self, *gateways: MemoryGateway) -> None:
        self._gateways = gateways

    @property
    def chosen(self) -> PaymentGateway:
        return self._gateways[0]

    def named(self, name: str) -> PaymentGateway:
        for gateway in self._gateways:
            if gateway.name == name:
                return gateway
        raise GatewayUnavailable
