"""Razorpay for tests: orders, payment links, payments and refunds as its documents describe them, signed webhooks, and
its own records. It misbehaves on demand.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from tests.support.gateway_server import Entity, FakeGateway
from tests.support.receivers import Request, answer, receiving

KEY_ID = "rzp_test_1234567890"
KEY_SECRET = "the secret of the tests' key"
WEBHOOK_SECRET = "the secret of the tests' webhook"
WEBHOOK_PATH = "/payment/razorpay/webhook"
QUARTER_OF_AN_HOUR = 15 * 60


@dataclass(frozen=True)
class Webhook:
    """Signed and ready to be sent; as often, late and out of order as one likes."""

    event: str
    id: str
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "X-Razorpay-Event-Id": self.id,
            "X-Razorpay-Signature": sign(WEBHOOK_SECRET, self.body),
        }

    async def send(self, api: httpx.AsyncClient, **headers: str) -> httpx.Response:
        return await api.post(WEBHOOK_PATH, content=self.body, headers=self.headers | headers)


@dataclass
class FakeRazorpay(FakeGateway[Webhook]):
    orders: dict[str, Entity] = field(default_factory=dict)
    links: dict[str, Entity] = field(default_factory=dict)
    payments: dict[str, Entity] = field(default_factory=dict)
    disputes: dict[str, Entity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refund_keys: dict[str, tuple[bytes, Entity]] = {}

    @property
    def settings(self) -> dict[str, str]:
        return {
            "payment_provider": "razorpay",
            "razorpay_key_id": KEY_ID,
            "razorpay_key_secret": KEY_SECRET,
            "razorpay_webhook_secret": WEBHOOK_SECRET,
            "razorpay_api_base": self.receiver.url,
        }

    def kept(self) -> int:
        """The books: what was captured and not given back."""
        captured: int = sum(each["amount"] for each in self.payments.values() if each["captured"])
        return captured - self._given_back()

    # What people do

    def pays(self, order_id: str, *, captures: bool = True, notes: Any = None, **changes: Any) -> Entity:
        """The person pays the order in a Checkout; who writes the client's code writes the notes."""
        payment = self._tries(order_id, "authorized", notes=notes, **changes)
        self._enqueue_webhook("payment.authorized", payment=payment)
        return self.captures(payment) if captures else payment

    def fails(self, order_id: str) -> Entity:
        payment = self._tries(order_id, "failed", error_code="BAD_REQUEST_ERROR")
        self._enqueue_webhook("payment.failed", payment=payment)
        return payment

    def authorizes_late(self, payment: Entity) -> Entity:
        """The bank says yes after all."""
        assert payment["status"] == "failed"
        payment["status"] = "authorized"
        self._enqueue_webhook("payment.authorized", payment=payment)
        return payment

    def captures(self, payment: Entity) -> Entity:
        order = self.orders[payment["order_id"]]
        assert order["status"] != "paid", "Razorpay captures one payment of an order"
        payment |= {"status": "captured", "captured": True}
        order |= {"status": "paid", "amount_paid": payment["amount"], "amount_due": 0}
        self._enqueue_webhook("payment.captured", payment=payment)
        self._enqueue_webhook("order.paid", payment=payment, order=order)
        return payment

    def pays_link(self, url: str) -> Entity:
        """The person pays at the page of a link, which has an order of its own."""
        link = next(each for each in self.links.values() if each["short_url"] == url)
        assert link["status"] == "created", f"a link that is {link['status']} cannot be paid"
        link["order_id"] = self._order(link["amount"], link["currency"], link["reference_id"], link["notes"])["id"]
        payment = self.pays(link["order_id"], notes=link["notes"])
        link |= {"status": "paid", "amount_paid": link["amount"]}
        self._enqueue_webhook(
            "payment_link.paid", payment_link=link, order=self.orders[link["order_id"]], payment=payment
        )
        return payment

    def sends_back(self, url: str) -> str:
        """Where the page of a paid link sends the person, with what Razorpay adds and signs."""
        link = next(each for each in self.links.values() if each["short_url"] == url)
        payment_id = next(each["id"] for each in self.payments.values() if each["order_id"] == link.get("order_id"))
        signed = [link["id"], link["reference_id"], link["status"], payment_id]
        names = ("payment_link_id", "payment_link_reference_id", "payment_link_status", "payment_id")
        added = {f"razorpay_{name}": value for name, value in zip(names, signed, strict=True)}
        added["razorpay_signature"] = sign(KEY_SECRET, "|".join(signed).encode())
        return f"{link['callback_url']}?{urlencode(added)}"

    def gives_back(self, payment: Entity, amount: int | None = None) -> Entity:
        """A refund made at Razorpay's dashboard."""
        return self._refund(payment, amount or payment["amount"], [])

    def disputes_payment(self, payment: Entity, *, phase: str = "chargeback", amount: int | None = None) -> Entity:
        """The payer's bank disputes the payment, or inquires (`fraud`, `retrieval`)."""
        dispute: Entity = {"id": self._id("disp"), "entity": "dispute", "payment_id": payment["id"], "phase": phase}
        dispute |= {"amount": amount or payment["amount"], "currency": payment["currency"], "amount_deducted": 0}
        dispute |= {"status": "open", "reason_code": "goods_not_provided", "created_at": int(time.time())}
        self.disputes[dispute["id"]] = dispute
        self._enqueue_webhook("payment.dispute.created", payment=payment, dispute=dispute)
        return dispute

    def updates_dispute(self, dispute: Entity, status: str) -> None:
        dispute["status"] = status
        if status == "lost":
            dispute["amount_deducted"] = dispute["amount"]
        payment = self.payments[dispute["payment_id"]]
        self._enqueue_webhook(f"payment.dispute.{status}", payment=payment, dispute=dispute)

    def settles(self, refund: Entity, status: str = "processed") -> None:
        refund["status"] = status
        self._enqueue_webhook(f"refund.{status}", refund=refund, payment=self.payments[refund["payment_id"]])

    def signature(self, payment: Entity) -> str:
        """What the Checkout hands to the client."""
        return sign(KEY_SECRET, f"{payment['order_id']}|{payment['id']}".encode())

    def callback(self, payment: Entity) -> dict[str, str]:
        return {
            "razorpay_payment_id": payment["id"],
            "razorpay_order_id": payment["order_id"],
            "razorpay_signature": self.signature(payment),
        }

    def webhooks_of(self, *events: str) -> list[Webhook]:
        """Those webhooks, in the order of their names."""
        return [next(each for each in self.webhooks if each.event == event) for event in events]

    def webhook(self, event: str, **entities: Entity) -> Webhook:
        body = {
            "entity": "event",
            "account_id": "acc_BFQ7uQEaa7j2z7",
            "event": event,
            "contains": list(entities),
            "payload": {name: {"entity": entity} for name, entity in entities.items()},
            "created_at": int(time.time()),
        }
        return Webhook(event, self._id("evt"), json.dumps(body).encode())

    # What it answers

    def refuses(self, status: int) -> bytes:
        return _refused(status, "The server encountered an error")

    def answers(self, request: Request) -> bytes:
        expected = base64.b64encode(f"{KEY_ID}:{KEY_SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return _refused(401, "Authentication failed")
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match [request.method, *url.path.strip("/").split("/")[1:]]:
            case ["POST", "orders"]:
                return self._make_order(request.json)
            case ["GET", "orders"]:
                found = [each for each in self.orders.values() if each["receipt"] == query["receipt"]]
                return _json(_collection(list(reversed(found))))
            case ["GET", "orders", order_id, "payments"]:
                found = [each for each in self.payments.values() if each["order_id"] == order_id]
                return _json(_collection(list(reversed(found))))
            case ["POST", "payment_links"]:
                return self._make_link(request.json)
            case ["GET", "payment_links"]:
                found = [each for each in self.links.values() if each["reference_id"] == query["reference_id"]]
                return _json({"payment_links": found})
            case ["POST", "payment_links", link_id, "cancel"]:
                return self._cancel(self.links[link_id])
            case ["GET", "disputes"]:
                newest = [each for each in self.disputes.values() if each["created_at"] >= int(query["from"])][::-1]
                skip = int(query["skip"])
                return _json(_collection(newest[skip : skip + int(query["count"])]))
            case ["GET", "payments", payment_id] if payment_id in self.payments:
                return _json(self.payments[payment_id])
            case ["POST", "payments", payment_id, "refund"] if payment_id in self.payments:
                return self._requested_refund(self.payments[payment_id], request)
        return _refused(400, "The id provided does not exist")

    def _make_order(self, asked: Entity) -> bytes:
        if asked["amount"] < 100 and asked["currency"] == "INR":
            return _refused(400, "Order amount less than minimum amount allowed")
        assert asked["payment_capture"] is True
        assert len(asked["receipt"]) <= 40
        return _json(self._order(asked["amount"], asked["currency"], asked["receipt"], asked["notes"]))

    def _make_link(self, asked: Entity) -> bytes:
        if any(each["reference_id"] == asked["reference_id"] for each in self.links.values()):
            return _refused(400, "payment link with given reference_id already exists")
        if asked.get("expire_by", 10**10) < time.time() + QUARTER_OF_AN_HOUR:
            return _refused(400, "expire_by should be at least 15 minutes after current time")
        assert asked["accept_partial"] is False
        assert asked["callback_method"] == "get"
        assert "?" not in asked["callback_url"]
        link_id = self._id("plink")
        link = {"id": link_id, "status": "created", "amount_paid": 0, "short_url": f"https://rzp.io/i/{link_id[6:]}"}
        self.links[link_id] = asked | link
        return _json(self.links[link_id])

    def _cancel(self, link: Entity) -> bytes:
        if link["status"] != "created":
            return _refused(400, f"payment link cannot be cancelled, it is {link['status']}")
        link["status"] = "cancelled"
        self._enqueue_webhook("payment_link.cancelled", payment_link=link)
        return _json(link)

    def _requested_refund(self, payment: Entity, request: Request) -> bytes:
        key = request.headers["x-refund-idempotency"]
        assert re.fullmatch(r"[A-Za-z0-9_-]{10,}", key)
        if key in self._refund_keys:
            body, refund = self._refund_keys[key]
            same = body == request.body
            return _json(refund) if same else _refused(400, "Different request with the same idempotency key")
        about = [each for each in self.disputes.values() if each["payment_id"] == payment["id"]]
        if any(each["phase"] == "chargeback" and each["status"] not in {"won", "closed"} for each in about):
            return _refused(400, "The refund cannot be processed for this payment")
        if request.json["amount"] > payment["amount"] - payment["amount_refunded"]:
            return _refused(400, "The total refund amount is greater than the refund payment amount")
        refund = self._refund(payment, request.json["amount"], request.json["notes"])
        self._refund_keys[key] = request.body, refund
        return _json(refund)

    # Its books

    def _order(self, amount: int, currency: str, receipt: str, notes: Any) -> Entity:
        order: Entity = {
            "id": self._id("order"),
            "entity": "order",
            "amount": amount,
            "amount_paid": 0,
            "amount_due": amount,
        }
        order |= {"currency": currency, "receipt": receipt, "status": "created", "attempts": 0, "notes": notes}
        self.orders[order["id"]] = order
        return order

    def _tries(self, order_id: str, status: str, *, notes: Any = None, **changes: Any) -> Entity:
        order = self.orders[order_id]
        order["attempts"] += 1
        payment = {"id": self._id("pay"), "entity": "payment", "amount": order["amount"], "currency": order["currency"]}
        payment |= {"status": status, "order_id": order_id, "captured": False, "amount_refunded": 0, "method": "upi"}
        payment |= {"notes": notes or [], "created_at": int(time.time()) + len(self.payments)} | changes
        self.payments[payment["id"]] = payment
        return payment

    def _refund(self, payment: Entity, amount: int, notes: Any) -> Entity:
        payment["amount_refunded"] += amount
        if payment["amount_refunded"] == payment["amount"]:
            payment["status"] = "refunded"
        refund = {"id": self._id("rfnd"), "entity": "refund", "payment_id": payment["id"], "amount": amount}
        refund |= {"currency": payment["currency"], "notes": notes, "status": "pending", "speed_requested": "normal"}
        self.refunds[refund["id"]] = refund
        self._enqueue_webhook("refund.created", refund=refund, payment=payment)
        if not self.slow_refunds:
            self.settles(refund)
        return refund

    def _enqueue_webhook(self, event: str, **entities: Entity) -> None:
        """The payload is a snapshot of the moment."""
        self.webhooks.append(self.webhook(event, **json.loads(json.dumps(entities))))


def sign(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@contextlib.asynccontextmanager
async def fake_razorpay() -> AsyncIterator[FakeRazorpay]:
    async with receiving() as receiver:
        razorpay = FakeRazorpay(receiver)
        receiver.behave = razorpay.behave
        yield razorpay


def _collection(items: list[Entity]) -> Entity:
    return {"entity": "collection", "count": len(items), "items": items}


def _json(body: Entity, status: int = 200) -> bytes:
    return answer(status, json.dumps(body).encode(), Content_Type="application/json")


def _refused(status: int, description: str) -> bytes:
    return _json({"error": {"code": "BAD_REQUEST_ERROR", "description": description}}, status)
