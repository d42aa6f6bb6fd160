"""Stripe for tests: Checkout Sessions, payment intents, charges and refunds as its documents describe them, idempotency
keys, signed webhooks, and its own records. It misbehaves on demand.
"""

import contextlib
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.support.gateway_server import Entity, FakeGateway
from tests.support.receivers import Request, answer, receiving

SECRET_KEY = "sk_test_51TheKeyOfTheTests"
WEBHOOK_SECRET = "whsec_the_secret_of_the_tests"
WEBHOOK_PATH = "/payment/stripe/webhook"
HALF_AN_HOUR, A_DAY = 30 * 60, 24 * 3600


@dataclass(frozen=True)
class Webhook:
    """As often, late and out of order as one likes: each sending is signed anew, as Stripe does it."""

    event: str
    body: bytes

    async def send(self, api: httpx.AsyncClient, signature: str | None = None) -> httpx.Response:
        headers = {"Content-Type": "application/json", "Stripe-Signature": signature or signed(self.body)}
        return await api.post(WEBHOOK_PATH, content=self.body, headers=headers)


class Refused(Exception):
    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", code: str = "") -> None:
        self.answer = _json({"error": {"type": kind, "message": message} | ({"code": code} if code else {})}, status)


@dataclass
class FakeStripe(FakeGateway[Webhook]):
    sessions: dict[str, Entity] = field(default_factory=dict)
    intents: dict[str, Entity] = field(default_factory=dict)
    charges: dict[str, Entity] = field(default_factory=dict)
    disputes: dict[str, Entity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._answers: dict[str, tuple[str, bytes, bytes]] = {}

    @property
    def settings(self) -> dict[str, str]:
        return {
            "payment_provider": "stripe",
            "stripe_secret_key": SECRET_KEY,
            "stripe_webhook_secret": WEBHOOK_SECRET,
            "stripe_api_base": self.receiver.url,
        }

    def forget_keys(self) -> None:
        """A day has passed."""
        self._answers.clear()

    def kept(self) -> int:
        """The books: what was captured and not given back."""
        captured: int = sum(each["amount_received"] for each in self.intents.values())
        return captured - self._given_back()

    def events(self, *kinds: str) -> list[Webhook]:
        """Those webhooks, in the order of the names."""
        return [next(each for each in self.webhooks if each.event == kind) for kind in kinds]

    # What people do

    def pays(self, session: Entity, *, at_once: bool = True, amount: int | None = None, currency: str = "") -> Entity:
        """The person pays; a bank debit is not there at once. Another amount or currency is what Stripe never does."""
        assert session["status"] == "open", f"a session that is {session['status']} cannot be paid"
        session["amount_total"] = session["amount_total"] if amount is None else amount
        session["currency"] = currency or session["currency"]
        intent = self._intent(session)
        session |= {"status": "complete", "payment_intent": intent["id"], "url": None}
        if at_once:
            self._capture(session)
        else:
            intent["status"] = "processing"
        self._enqueue_webhook("checkout.session.completed", session)
        return intent

    def declines(self, session: Entity) -> None:
        """A card that is refused. The session stays open for another."""
        intent = self._intent(session)
        session["payment_intent"] = intent["id"]
        self._enqueue_webhook("payment_intent.payment_failed", intent)

    def arrives(self, session: Entity) -> None:
        """The bank debit."""
        self._capture(session)
        self._enqueue_webhook("checkout.session.async_payment_succeeded", session)

    def bounces(self, session: Entity) -> None:
        self.intents[session["payment_intent"]]["status"] = "requires_payment_method"
        self._enqueue_webhook("checkout.session.async_payment_failed", session)

    def expires(self, session: Entity) -> None:
        session |= {"status": "expired", "url": None}
        self._enqueue_webhook("checkout.session.expired", session)

    def gives_back(self, intent: Entity, amount: int) -> Entity:
        """A refund made at Stripe's dashboard."""
        return self._refund(intent, amount, {})

    def disputes_charge(self, intent: Entity, *, status: str = "needs_response", amount: int | None = None) -> Entity:
        """The payer's bank disputes the charge, or inquires (`warning_needs_response`)."""
        charge = self.charges[intent["latest_charge"]]
        charge["disputed"] = True
        dispute: Entity = {"id": self._id("du"), "object": "dispute", "amount": amount or charge["amount"]}
        dispute |= {"currency": charge["currency"], "charge": charge["id"], "payment_intent": intent["id"]}
        dispute |= {"status": status, "reason": "fraudulent", "is_charge_refundable": status.startswith("warning_")}
        dispute |= {"metadata": {}, "livemode": False}
        self.disputes[dispute["id"]] = dispute
        self._enqueue_webhook("charge.dispute.created", dispute)
        return dispute

    def updates_dispute(self, dispute: Entity, status: str) -> None:
        dispute |= {"status": status, "is_charge_refundable": status.startswith("warning_")}
        is_closed = status in {"won", "lost", "warning_closed", "prevented"}
        self._enqueue_webhook("charge.dispute.closed" if is_closed else "charge.dispute.updated", dispute)

    def settles(self, refund: Entity, status: str = "succeeded") -> None:
        refund["status"] = status
        if status == "failed":
            self.charges[refund["charge"]]["amount_refunded"] -= refund["amount"]
        self._enqueue_webhook("refund.failed" if status == "failed" else "refund.updated", refund)

    def webhook(self, kind: str, about: Entity) -> Webhook:
        event: Entity = {"id": self._id("evt"), "object": "event", "api_version": "2026-10-28.endive", "type": kind}
        event |= {"created": int(time.time()), "livemode": False, "pending_webhooks": 1, "data": {"object": about}}
        return Webhook(kind, json.dumps(event, indent=2).encode())

    # What it answers

    def refuses(self, status: int) -> bytes:
        return Refused(status, "Something went wrong", "api_error").answer

    def answers(self, request: Request) -> bytes:
        """A known key is answered as before. Nothing is kept of what was refused before it was begun."""
        key = request.headers.get("idempotency-key")
        asked = f"{request.method} {request.path}", request.body
        if request.method == "POST" and key in self._answers:
            *known, kept = self._answers[key]
            if tuple(known) != asked:
                return Refused(400, "Keys for idempotent requests can only be used once", "idempotency_error").answer
            return kept
        try:
            made = _json(self._do(request))
        except Refused as refused:
            return refused.answer
        if request.method == "POST" and key:
            self._answers[key] = (*asked, made)
        return made

    def _do(self, request: Request) -> Entity:
        if request.headers.get("authorization") != f"Bearer {SECRET_KEY}":
            raise Refused(401, "Invalid API Key provided: sk_test_************ests")
        url = urlsplit(request.path)
        asked = _form(request.body.decode() or url.query)
        match [request.method, *url.path.strip("/").split("/")[1:]]:
            case ["POST", "checkout", "sessions"]:
                return self._make_session(asked)
            case ["GET", "checkout", "sessions", session_id] if session_id in self.sessions:
                return self._expanded(self.sessions[session_id], asked)
            case ["POST", "checkout", "sessions", session_id, "expire"] if session_id in self.sessions:
                if self.sessions[session_id]["status"] != "open":
                    raise Refused(400, 'Only Checkout Sessions with a status in ["open"] can be expired')
                self.expires(self.sessions[session_id])
                return self.sessions[session_id]
            case ["GET", "disputes"]:
                found = [each for each in self.disputes.values() if each["payment_intent"] == asked["payment_intent"]]
                return {"object": "list", "url": "/v1/disputes", "has_more": False, "data": found[::-1]}
            case ["POST", "refunds"]:
                return self._requested_refund(asked)
            case ["GET", "refunds"]:
                found = [each for each in self.refunds.values() if each["payment_intent"] == asked["payment_intent"]]
                return {"object": "list", "url": "/v1/refunds", "has_more": False, "data": found[::-1]}
        raise Refused(404, f"No such thing: {url.path}")

    def _make_session(self, asked: Entity) -> Entity:
        assert asked["mode"] == "payment"
        [item] = asked["line_items"].values()
        price = item["price_data"]
        assert price["currency"].islower(), "Stripe's codes are in lower case"
        now = int(time.time())
        ends = int(asked.get("expires_at", now + A_DAY))
        if not now + HALF_AN_HOUR <= ends <= now + A_DAY:
            raise Refused(400, "The `expires_at` timestamp must be between 30 minutes and 24 hours from now")
        if len(price["product_data"]["name"]) > 250:
            raise Refused(400, "Invalid string: must be at most 250 characters")
        session_id = self._id("cs_test")
        session: Entity = {"id": session_id, "object": "checkout.session", "status": "open", "payment_status": "unpaid"}
        session |= {"url": f"https://checkout.stripe.com/c/pay/{session_id}", "payment_intent": None, "created": now}
        session |= {"amount_total": int(price["unit_amount"]) * int(item["quantity"]), "currency": price["currency"]}
        session |= {"expires_at": ends, "mode": "payment", "metadata": asked.get("metadata", {})}
        session |= {name: asked[name] for name in ("client_reference_id", "success_url", "cancel_url")}
        session["customer_email"] = asked.get("customer_email")
        self.sessions[session_id] = session | {"asked": asked}
        return self.sessions[session_id]

    def _expanded(self, session: Entity, asked: Entity) -> Entity:
        intent = self.intents.get(session["payment_intent"] or "")
        if intent is None or "payment_intent.latest_charge" not in asked.get("expand", {}).values():
            return session
        return session | {"payment_intent": intent | {"latest_charge": self.charges.get(intent["latest_charge"] or "")}}

    def _requested_refund(self, asked: Entity) -> Entity:
        intent = self.intents.get(asked["payment_intent"])
        if intent is None or intent["latest_charge"] is None:
            raise Refused(404, "No such payment_intent")
        charge = self.charges[intent["latest_charge"]]
        about = [each for each in self.disputes.values() if each["charge"] == charge["id"]]
        if any(each["status"] in {"needs_response", "under_review", "lost"} for each in about):
            raise Refused(400, "Charge has been charged back; cannot issue a refund.", code="charge_disputed")
        if int(asked["amount"]) > charge["amount"] - charge["amount_refunded"]:
            raise Refused(400, "Refund amount is greater than unrefunded amount on charge")
        return self._refund(intent, int(asked["amount"]), asked.get("metadata", {}))

    # Its books

    def _intent(self, session: Entity) -> Entity:
        if session["payment_intent"] is None:
            intent: Entity = {"id": self._id("pi"), "object": "payment_intent", "status": "requires_payment_method"}
            intent |= {"amount": session["amount_total"], "currency": session["currency"], "amount_received": 0}
            intent |= {"latest_charge": None, "metadata": session["asked"]["payment_intent_data"]["metadata"]}
            self.intents[intent["id"]] = intent
        else:
            intent = self.intents[session["payment_intent"]]
        return intent

    def _capture(self, session: Entity) -> None:
        intent = self.intents[session["payment_intent"]]
        charge = {"id": self._id("ch"), "object": "charge", "amount": session["amount_total"], "amount_refunded": 0}
        charge |= {"currency": session["currency"], "payment_intent": intent["id"], "metadata": intent["metadata"]}
        self.charges[charge["id"]] = charge
        intent |= {"status": "succeeded", "amount_received": charge["amount"], "latest_charge": charge["id"]}
        session["payment_status"] = "paid"

    def _refund(self, intent: Entity, amount: int, metadata: Entity) -> Entity:
        charge = self.charges[intent["latest_charge"]]
        charge["amount_refunded"] += amount
        refund = {"id": self._id("re"), "object": "refund", "amount": amount, "currency": intent["currency"]}
        refund |= {"payment_intent": intent["id"], "charge": charge["id"], "metadata": metadata}
        refund["status"] = "pending" if self.slow_refunds else "succeeded"
        self.refunds[refund["id"]] = refund
        self._enqueue_webhook("refund.created", refund)
        self._enqueue_webhook("charge.refunded", charge)
        return refund

    def _enqueue_webhook(self, kind: str, about: Entity) -> None:
        """The payload is a snapshot of the moment."""
        payload = {name: value for name, value in about.items() if name != "asked"}
        self.webhooks.append(self.webhook(kind, payload))


def signature_of(body: bytes, *, secret: str = WEBHOOK_SECRET, at: int | None = None) -> str:
    at = int(time.time()) if at is None else at
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def signed(body: bytes, *, secret: str = WEBHOOK_SECRET, at: int | None = None) -> str:
    """The header Stripe-Signature."""
    at = int(time.time()) if at is None else at
    return f"t={at},v1={signature_of(body, secret=secret, at=at)}"


@contextlib.asynccontextmanager
async def fake_stripe() -> AsyncIterator[FakeStripe]:
    async with receiving() as receiver:
        stripe = FakeStripe(receiver)
        receiver.behave = stripe.behave
        yield stripe


def _form(text: str) -> Entity:
    """`a[b][0]=c` as Stripe's servers read it: list items have numbers."""
    found: Entity = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        first, *rest = re.findall(r"[^\[\]]+", name)
        inner, keys = found, [first, *rest]
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = value
    return found


def _json(body: Entity, status: int = 200) -> bytes:
    shown = {name: value for name, value in body.items() if name != "asked"}
    return answer(status, json.dumps(shown).encode(), Content_Type="application/json", Request_Id="req_tests")
