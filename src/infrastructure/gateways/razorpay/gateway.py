"""Razorpay, over its REST API (https://razorpay.com/docs/api/).

A payment is requested as an order, which Razorpay's Checkout in a client can pay, and as a payment link, which is a
page for the buyer. Razorpay creates another order for a link. Both orders have the payment's id as `receipt`, so every
payment is found by that id. An order whose creation was not confirmed is found by it as well, instead of created again.

Orders are created with `payment_capture`: Razorpay captures an authorised payment automatically, or returns it after
some days. A payment with the status `authorized` is therefore not received yet and stays open.

Disputes are reported by `payment.dispute.*` webhooks (https://razorpay.com/docs/api/disputes/entity,
https://razorpay.com/docs/webhooks/payloads/payments). Its phases `fraud` and `retrieval` are questions of the bank, and
`closed` ends one of them without a deduction; the other phases are chargebacks. `GET /v1/disputes` lists those of the
whole account; it has no filter for a payment, so it is read from the time of the payment on.
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import httpx
import msgspec

from application.payments.ports.gateways import (
    Checkout,
    GatewayEvent,
    GatewayRecord,
    GatewayRefused,
    PaymentRequest,
    RefundAnswer,
    RefundRequest,
    ReturnAddresses,
)
from application.ports import Clock
from domain.checkout_return import Outcome
from domain.disputes import Dispute, DisputeStatus, PaymentDisputed
from domain.errors import Invalid
from domain.money import Money, exponent
from domain.payments import (
    GatewayUnavailable,
    GatewayUpdate,
    InvalidSignature,
    Payment,
    PaymentId,
    PaymentMismatch,
    PaymentUpdate,
)
from infrastructure.gateways.razorpay.updates import (
    RECEIVED,
    Disputes,
    LinkEntity,
    Links,
    OrderEntity,
    Orders,
    PaymentEntity,
    Payments,
    RefundEntity,
    Webhook,
    dispute_of,
    is_for_payment_link,
    read,
    reported,
    update_of,
)
from infrastructure.retries import request_follows

T = TypeVar("T")

SIGNATURE = "x-razorpay-signature"
EVENT_ID = "x-razorpay-event-id"

MOST_OF_AN_ANSWER = 256 * 1024
"""Bytes; an order with a hundred payments has some 100 KiB."""
SHORTEST_LINK = 16 * 60
"""Seconds. A payment link must be valid for at least 15 minutes; the rest allows for clock differences."""
PAGE = 100
"""The maximum number of disputes in an answer."""
MOST_DISPUTE_PAGES = 10
CALLBACK_SECONDS = 4
"""Seconds. Short, because a person waits for the response to a callback, which is possible without Razorpay."""

_SIGNED_IN_CALLBACK = ("payment_link_id", "payment_link_reference_id", "payment_link_status", "payment_id")

_TRIED_AGAIN = frozenset({408, 409, 425, 429})


class _Error(msgspec.Struct, frozen=True):
    description: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error = _Error()


class RazorpayGateway:
    """`seconds` bounds each call with all of its requests."""

    name = "razorpay"
    holds_seats = True

    def __init__(
        self,
        key_id: str,
        key_secret: str,
        webhook_secret: str,
        *,
        base_url: str,
        returns: ReturnAddresses,
        clock: Clock,
        seconds: float = 10,
    ) -> None:
        self._clock = clock
        self._returns = returns
        self._key_secret = key_secret.encode()
        self._webhook_secret = webhook_secret.encode()
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            base_url=base_url,
            auth=(key_id, key_secret),
            # A small compressed response may expand to gigabytes.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Convene"},
            timeout=seconds,
            follow_redirects=False,
            # Proxies and .netrc files of the machine must not receive the API key.
            trust_env=False,
            verify=httpx.create_ssl_context(),
            limits=httpx.Limits(max_connections=20, keepalive_expiry=3),
            event_hooks={"request": [request_follows]},
        )

    async def close(self) -> None:
        await self._client.aclose()

    def refuse_price(self, price: Money) -> None:
        why = _untaken(price)
        if why is not None:
            raise Invalid({"price": why})

    async def open_checkout(self, request: PaymentRequest) -> Checkout | None:
        asked = {"amount": _minor_units(request.price), "currency": request.price.currency}
        notes = {
            "payment_id": str(request.payment_id),
            "booking_id": str(request.payable.id),
            "booking_reference": request.reference,
            "user_id": str(request.user_id),
            "facilitator_id": str(request.facilitator_id),
        }
        if request.event_id is not None:
            notes["event_id"] = str(request.event_id)
        async with _within(self._seconds):
            ours = [order for order in await self._orders(request.payment_id) if not is_for_payment_link(order)]
            order = ours[0] if ours else None
            link = await self._link(request.payment_id) if order else None
            if order is None:
                receipt = {"receipt": str(request.payment_id), "payment_capture": True}
                order = await self._ask("POST", "/v1/orders", OrderEntity, json=asked | receipt | {"notes": notes})
            if link is None:
                what = {
                    "reference_id": str(request.payment_id),
                    "description": f"{request.title} ({request.reference})",
                    "accept_partial": False,
                    "reminder_enable": False,
                    "notify": {"sms": False, "email": False},
                    "notes": notes | {"order_id": order.id},
                    "callback_url": self._returns.of(request.payment_id, Outcome.SUCCESS),
                    "callback_method": "get",
                }
                if request.until is not None:
                    what["expire_by"] = max(
                        int(request.until.timestamp()), int(self._clock.now().timestamp()) + SHORTEST_LINK
                    )
                link = await self._ask("POST", "/v1/payment_links", LinkEntity, json=asked | what)
        return Checkout(order.id, link.short_url)

    async def look_up(self, payment: Payment) -> GatewayRecord:
        async with _within(self._seconds):
            known = {order.id for order in await self._orders(payment.id)}
            orders = known | ({payment.order_id} if payment.order_id else set())
            tries = [each for order_id in sorted(orders) for each in await self._payments(order_id)]
            received = [each for each in tries if each.status in RECEIVED]
            disputes = await self._disputes(received)
        currency = payment.price.currency
        return GatewayRecord(
            report=update_of(payment, sorted(tries, key=lambda each: each.created_at)),
            received=_sum(received, currency),
            refunded=Money.from_minor_units(sum(each.amount_refunded or 0 for each in received), currency),
            disputes=disputes,
        )

    async def expire_checkout(self, payment: Payment) -> None:
        """Cancels the link. An order cannot be cancelled: an open Checkout can still pay it, as a late payment."""
        async with _within(self._seconds):
            link = await self._link(payment.id)
            if link is not None and link.status == "created":
                # It may have been paid or expired meanwhile; then there is nothing to close.
                with contextlib.suppress(GatewayRefused):
                    await self._ask("POST", f"/v1/payment_links/{link.id}/cancel", LinkEntity)

    async def refund(self, request: RefundRequest) -> RefundAnswer:
        gateway_id = request.payment.gateway_id
        if gateway_id is None:
            raise GatewayRefused("Razorpay has no payment that could be given back")
        async with _within(self._seconds):
            try:
                answer = await self._ask(
                    "POST",
                    f"/v1/payments/{gateway_id}/refund",
                    RefundEntity,
                    json={
                        "amount": _minor_units(request.amount),
                        "speed": "normal",
                        "notes": {"refund_id": str(request.refund_id), "payment_id": str(request.payment.id)},
                    },
                    headers={"X-Refund-Idempotency": str(request.refund_id)},
                )
            except GatewayRefused:
                if await self._is_disputed(gateway_id):
                    raise PaymentDisputed from None
                raise
        if answer.status == "failed":
            raise GatewayRefused(f"Razorpay could not give the money back ({answer.id})")
        return RefundAnswer(answer.id, settled=answer.status == "processed")

    def verify_checkout(self, order_id: str, gateway_id: str, signature: str) -> None:
        """Raises `InvalidSignature` unless Razorpay's Checkout signed that this order was paid by this payment."""
        _verify(self._key_secret, f"{order_id}|{gateway_id}".encode(), signature)

    def is_success(self, payment_id: PaymentId, parameters: Mapping[str, str]) -> bool:
        """Verifies the signed parameters that Razorpay adds to the callback address of a payment link
        (https://razorpay.com/docs/payments/payment-links/callback/)."""
        given = [parameters.get(f"razorpay_{name}", "") for name in _SIGNED_IN_CALLBACK]
        try:
            _verify(self._key_secret, "|".join(given).encode(), parameters.get("razorpay_signature", ""))
        except InvalidSignature:
            return False
        _, reference_id, status, _ = given
        return (reference_id, status) == (str(payment_id), "paid")

    async def confirm(self, payment: Payment, gateway_id: str) -> GatewayUpdate:
        """Returns the update of a payment whose success was signed. An order is only paid in full, so the signature
        proves the amount even if the look-up at Razorpay fails. An authorised payment is captured."""
        report = GatewayUpdate(
            payment.order_id or "",
            PaymentUpdate.RECEIVED,
            payment_id=payment.id,
            gateway_id=gateway_id,
            amount=payment.price,
        )
        try:
            async with _within(CALLBACK_SECONDS):
                found = await self._ask("GET", f"/v1/payments/{gateway_id}", PaymentEntity)
        except GatewayUnavailable:
            return report
        if found.order_id != payment.order_id:
            raise PaymentMismatch
        signed = "captured" if found.status == "authorized" else found.status
        return reported(report.order_id, payment.id, signed, found)

    def read_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        _verify(self._webhook_secret, body, headers.get(SIGNATURE, ""))
        # The event's id is not signed. A body that is sent again with another id only repeats an old update.
        event_id = headers.get(EVENT_ID) or hashlib.sha256(body).hexdigest()
        try:
            webhook = msgspec.json.decode(body, type=Webhook)
            report = read(webhook)
        except (msgspec.DecodeError, msgspec.ValidationError, Invalid) as error:
            raise GatewayRefused(f"This is no webhook of Razorpay: {error}") from None
        return GatewayEvent(event_id, webhook.event, report, msgspec.json.decode(body))

    async def _orders(self, payment_id: PaymentId) -> Sequence[OrderEntity]:
        """All orders of the payment, including those of its link, oldest first."""
        found = await self._ask("GET", "/v1/orders", Orders, params={"receipt": str(payment_id), "count": "100"})
        return [order for order in reversed(found.items) if order.receipt == str(payment_id)]

    async def _payments(self, order_id: str) -> Sequence[PaymentEntity]:
        return (await self._ask("GET", f"/v1/orders/{order_id}/payments", Payments)).items

    async def _is_disputed(self, gateway_id: str) -> bool:
        """Whether a chargeback is open or lost, which Razorpay's refusals do not name."""
        payment = await self._ask("GET", f"/v1/payments/{gateway_id}", PaymentEntity)
        disputes = await self._disputes([payment])
        return any(each.status is not DisputeStatus.WON and not each.is_inquiry for each in disputes)

    async def _disputes(self, payments: Sequence[PaymentEntity]) -> Sequence[Dispute]:
        if not payments:
            return ()
        ids, found = {each.id for each in payments}, list[Dispute]()
        since = min(each.created_at for each in payments)
        for number in range(MOST_DISPUTE_PAGES):
            params = {"from": str(since), "count": str(PAGE), "skip": str(number * PAGE)}
            page = (await self._ask("GET", "/v1/disputes", Disputes, params=params)).items
            found += [dispute for each in page if each.payment_id in ids and (dispute := dispute_of(each))]
            if len(page) < PAGE:
                break
        return found[::-1]

    async def _link(self, payment_id: PaymentId) -> LinkEntity | None:
        found = await self._ask("GET", "/v1/payment_links", Links, params={"reference_id": str(payment_id)})
        return next((link for link in found.payment_links if link.reference_id == str(payment_id)), None)

    async def _ask(self, method: str, path: str, kind: type[T], **what: Any) -> T:
        body = b""
        try:
            async with self._client.stream(method, path, **what) as response:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MOST_OF_AN_ANSWER:
                        raise GatewayUnavailable(f"Razorpay answered more than {MOST_OF_AN_ANSWER} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise GatewayUnavailable(f"Razorpay cannot be reached ({type(error).__name__})") from None
        if response.is_client_error and response.status_code not in _TRIED_AGAIN:
            raise GatewayRefused(f"Razorpay refused ({response.status_code}): {_description(body)}")
        if not response.is_success:
            raise GatewayUnavailable(f"Razorpay answered {response.status_code}")
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise GatewayUnavailable("Razorpay answered something that its documents do not show") from None


@contextlib.asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise GatewayUnavailable(f"Razorpay did not answer within {seconds:g} s") from None


def _verify(secret: bytes, signed: bytes, signature: str) -> None:
    expected = hmac.new(secret, signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise InvalidSignature


def _untaken(money: Money) -> str | None:
    """Why Razorpay rejects the amount: of three decimals the last must be 0."""
    if exponent(money.currency) > 2 and money.minor_units % 10 ** (exponent(money.currency) - 2):
        return f"Razorpay takes {money.currency} with two decimals only, not {money}"
    return None


def _minor_units(money: Money) -> int:
    why = _untaken(money)
    if why is not None:
        raise GatewayRefused(why)
    return money.minor_units


def _sum(payments: Iterable[PaymentEntity], currency: str) -> Money:
    return Money.from_minor_units(sum(each.amount for each in payments if each.currency == currency), currency)


def _description(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Refusal).error.description[:200]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "no reason given"
