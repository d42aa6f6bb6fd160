"""A payment gateway of the tests: an HTTP server with a ledger of its own, and the port's adapter that talks to it.

Its ledger knows nothing of our tables, so it can say what really happened to the money.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

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
from domain.payments import (
    GatewayUnavailable,
    GatewayUpdate,
    InvalidSignature,
    Payment,
    PaymentId,
    PaymentUpdate,
    RefundUpdate,
)
from domain.refunds import RefundId
from tests.support.http import serving

SECRET = b"what the till signs with"
Webhook = tuple[bytes, dict[str, str]]

_REPORTS = {
    "open": PaymentUpdate.OPEN,
    "paid": PaymentUpdate.RECEIVED,
    "declined": PaymentUpdate.FAILED,
    "closed": PaymentUpdate.FAILED,
}


@dataclass
class Order:
    id: str
    payment_id: str
    amount: int
    currency: str
    state: str = "open"
    refunds: dict[str, int] = field(default_factory=dict)

    @property
    def captured(self) -> int:
        return self.amount if self.state == "paid" else 0

    @property
    def refunded(self) -> int:
        return sum(self.refunds.values())

    def body(self) -> dict[str, Any]:
        names = ("id", "payment_id", "amount", "currency", "state", "refunded")
        return {name: getattr(self, name) for name in names}


class LocalGateway:
    """The server. Amounts are minor units. `unavailable`: answers 503 to everything. `lose_answers`: executes a request
    and disconnects. `refuses_refunds`: answers 402 to them. `slow_refunds`: accepts them and settles later."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Without orders and faults, as new."""
        self.orders: dict[str, Order] = {}
        self.refund_requests = 0
        self.unavailable = self.lose_answers = self.refuses_refunds = self.slow_refunds = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await _live(receive, send)
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        status, answer = (503, {}) if self.unavailable else self._do(scope["path"].strip("/").split("/"), body)
        if self.lose_answers:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9999")]})
            return None  # the connection breaks amid the answer
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
        return None

    def _do(self, path: list[str], body: bytes) -> tuple[int, dict[str, Any]]:
        match path:
            case ["orders"]:
                asked = json.loads(body)
                order_id = f"till_{asked['payment_id']}"
                order = self.orders.setdefault(order_id, Order(order_id, **asked))
                return 200, order.body()
            case ["orders", order_id]:
                return 200, self.orders[order_id].body()
            case ["orders", order_id, "close"]:
                order = self.orders[order_id]
                if order.state in ("open", "declined"):
                    order.state = "closed"
                return 200, order.body()
            case ["orders", order_id, "refunds", refund_id]:
                return self._refund(self.orders[order_id], refund_id, json.loads(body)["amount"])
        return 404, {}

    def _refund(self, order: Order, refund_id: str, amount: int) -> tuple[int, dict[str, Any]]:
        self.refund_requests += 1
        if self.refuses_refunds or order.refunded - order.refunds.get(refund_id, 0) + amount > order.captured:
            return 402, {}
        order.refunds[refund_id] = amount
        return 200, {"settled": not self.slow_refunds}

    def pay(self, order_id: str, state: str = "paid") -> Webhook | None:
        """The person decides. The webhook that reports it; None where nothing can be decided any more."""
        order = self.orders[order_id]
        if order.state not in ("open", "declined"):
            return None
        order.state = state
        return self.webhook(order_id)

    def webhook(self, order_id: str, **changes: Any) -> Webhook:
        return _signed({"id": f"evt_{uuid.uuid4().hex}", "order": self.orders[order_id].body() | changes})

    def refund_webhook(self, order_id: str, refund_id: str, *, ours: bool = True, **changes: Any) -> Webhook:
        order = self.orders[order_id]
        refund = {
            "id": f"tref_{refund_id}",
            "refund_id": refund_id if ours else None,
            "paid_by": f"pay_{order.id}",
            "amount": order.refunds.get(refund_id, 0),
            "currency": order.currency,
            "succeeded": True,
        }
        return _signed({"id": f"evt_{uuid.uuid4().hex}", "refund": refund | changes})

    def kept(self, currency: str) -> int:
        """What is captured and not given back, in minor units."""
        return sum(order.captured - order.refunded for order in self.orders.values() if order.currency == currency)


class LocalGatewayClient:
    name = "till"
    holds_seats = True

    def __init__(self, address: str) -> None:
        self._client = httpx.AsyncClient(base_url=address, timeout=5)

    async def close(self) -> None:
        await self._client.aclose()

    def refuse_price(self, price: Money) -> None: ...

    async def open_checkout(self, request: PaymentRequest) -> Checkout | None:
        asked = {
            "payment_id": str(request.payment_id),
            "amount": request.price.minor_units,
            "currency": request.price.currency,
        }
        order = await self._ask("/orders", asked)
        return Checkout(order["id"], f"https://till.example/{order['id']}")

    async def look_up(self, payment: Payment) -> GatewayRecord:
        order = await self._ask(f"/orders/{payment.order_id}")
        report = _report(order)
        nothing, back = (Money.from_minor_units(units, order["currency"]) for units in (0, order["refunded"]))
        return GatewayRecord(report, report.amount or nothing, back)

    async def expire_checkout(self, payment: Payment) -> None:
        await self._ask(f"/orders/{payment.order_id}/close", {})

    async def refund(self, request: RefundRequest) -> RefundAnswer:
        path = f"/orders/{request.payment.order_id}/refunds/{request.refund_id}"
        answer = await self._ask(path, {"amount": request.amount.minor_units})
        return RefundAnswer(f"tref_{request.refund_id}", settled=answer["settled"])

    def read_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        if not hmac.compare_digest(_sign(body), headers.get("till-signature", "")):
            raise InvalidSignature
        event = json.loads(body)
        if "refund" in event:
            return GatewayEvent(event["id"], "refund", _refund_report(event["refund"]), event)
        return GatewayEvent(event["id"], "order", _report(event["order"]), event)

    async def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = await self._client.request("GET" if body is None else "POST", path, json=body)
        except httpx.HTTPError as error:
            raise GatewayUnavailable from error
        if answer.status_code >= 500:
            raise GatewayUnavailable
        if answer.status_code != 200:
            raise GatewayRefused
        found: dict[str, Any] = answer.json()
        return found


@asynccontextmanager
async def running_local_gateway() -> AsyncIterator[tuple[LocalGateway, LocalGatewayClient]]:
    local_gateway = LocalGateway()
    async with serving(local_gateway) as address:
        gateway = LocalGatewayClient(address)
        try:
            yield local_gateway, gateway
        finally:
            await gateway.close()


def _report(order: dict[str, Any]) -> GatewayUpdate:
    paid = order["state"] == "paid"
    return GatewayUpdate(
        order_id=order["id"],
        report=_REPORTS[order["state"]],
        payment_id=PaymentId(uuid.UUID(order["payment_id"])),
        gateway_id=f"pay_{order['id']}" if paid else None,
        amount=Money.from_minor_units(order["amount"], order["currency"]) if paid else None,
    )


def _refund_report(refund: dict[str, Any]) -> RefundUpdate:
    return RefundUpdate(
        gateway_refund_id=refund["id"],
        gateway_id=refund["paid_by"],
        amount=Money.from_minor_units(refund["amount"], refund["currency"]),
        succeeded=refund["succeeded"],
        refund_id=RefundId(uuid.UUID(refund["refund_id"])) if refund["refund_id"] else None,
    )


def _signed(event: dict[str, Any]) -> Webhook:
    body = json.dumps(event).encode()
    return body, {"till-signature": _sign(body)}


def _sign(body: bytes) -> str:
    return hmac.new(SECRET, body, hashlib.sha256).hexdigest()


async def _live(receive: Any, send: Any) -> None:
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
