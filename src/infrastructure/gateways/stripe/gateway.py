"""Stripe, through its official client (https://docs.stripe.com/api): Checkout Sessions, refunds, disputes, webhooks.

A session is requested with our payment's id as the idempotency key and has it in its metadata, as does its payment
intent. Sessions and refunds without it belong to other uses of the same account. A session's amount and metadata are
trusted, since only holders of our key can write them.

Stripe repeats its first response for a known key, and rejects the key with other parameters. So no parameter depends on
the time of the request, neither the amount nor the expiry.

Disputes (https://docs.stripe.com/disputes/how-disputes-work, https://docs.stripe.com/api/disputes/object) are reported
by `charge.dispute.*` events, which name the payment intent and have none of our metadata. The statuses that begin with
`warning_` are inquiries: no money is withdrawn, and Stripe recommends a refund to end one. Stripe refuses the refund of
a charge that is disputed or charged back with the code `charge_disputed` (https://docs.stripe.com/error-codes).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import msgspec
import stripe

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
from domain.disputes import Dispute, PaymentDisputed
from domain.errors import Invalid
from domain.money import Money
from domain.payments import GatewayUnavailable, InvalidSignature, Payment
from infrastructure.gateways.stripe.updates import (
    DisputeEntity,
    Event,
    Refund,
    Session,
    dispute_of,
    is_disputed,
    minor_units,
    money,
    read,
    refunded,
    untaken,
    update_of,
)
from infrastructure.retries import make_final

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams

T = TypeVar("T")

SIGNATURE = "stripe-signature"
TOLERANCE = stripe.Webhook.DEFAULT_TOLERANCE
"""Seconds. The maximum difference between a webhook's timestamp and the present time."""
_ANY_TIME = 0
"""The tolerance with which the client does not look at a timestamp."""

OUTLIVES_HOLD = timedelta(minutes=31)
"""A session must stay open for at least half an hour after its creation, and can be requested until the hold expires.
The expiry of the hold closes it; this time applies when that request fails."""

LONGEST_NAME = 250
"""Characters of a product name."""

_TRIED_AGAIN = frozenset({408, 409, 425, 429})


class StripeGateway:
    """`seconds` bounds each call with all retries of the client."""

    name = "stripe"
    holds_seats = True

    def __init__(
        self,
        secret_key: str,
        webhook_secret: str,
        *,
        base_url: str,
        returns: ReturnAddresses,
        clock: Clock,
        seconds: float = 10,
    ) -> None:
        self._webhook_secret = webhook_secret
        self._clock = clock
        self._returns = returns
        self._seconds = seconds
        self._http = stripe.HTTPXClient(timeout=seconds / 2)
        self._stripe = stripe.StripeClient(
            secret_key, http_client=self._http, base_addresses={"api": base_url}, max_network_retries=2
        )

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]

    def refuse_price(self, price: Money) -> None:
        wrong = untaken(price)
        if wrong:
            raise Invalid(wrong)

    async def open_checkout(self, request: PaymentRequest) -> Checkout | None:
        asked = self._session_for(request)
        sessions = self._stripe.v1.checkout.sessions
        async with self._requesting():
            try:
                made = await sessions.create_async(asked, {"idempotency_key": str(request.payment_id)})
            except stripe.IdempotencyError as error:
                if error.http_status in _TRIED_AGAIN:
                    raise
                # The title changed between two attempts. The address of the first session was not disclosed.
                digest = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
                made = await sessions.create_async(asked, {"idempotency_key": f"{request.payment_id}-{digest[:16]}"})
        session = _as(Session, made)
        if session.url is None:
            raise GatewayRefused(f"Stripe's checkout {session.id} is closed already")
        return Checkout(session.id, session.url)

    async def look_up(self, payment: Payment) -> GatewayRecord:
        async with self._requesting():
            session = await self._session(payment, expand=["payment_intent.latest_charge"])
            disputes = await self._disputes(session)
        intent, currency = session.intent, payment.price.currency
        return GatewayRecord(
            report=update_of(session),
            received=money(intent.amount_received if intent else 0, intent.currency if intent else currency),
            refunded=refunded(intent, currency),
            disputes=disputes,
        )

    async def expire_checkout(self, payment: Payment) -> None:
        async with self._requesting():
            try:
                await self._stripe.v1.checkout.sessions.expire_async(_order_id(payment))
            except stripe.InvalidRequestError:
                # Only an open session can be expired; a paid or expired one needs nothing.
                if (await self._session(payment)).status == "open":
                    raise

    async def refund(self, request: RefundRequest) -> RefundAnswer:
        intent_id = request.payment.gateway_id
        if intent_id is None:
            raise GatewayRefused("Stripe has no payment that could be given back")
        refund_id = str(request.refund_id)
        amount = minor_units(request.amount)
        async with self._requesting():
            refund = await self._refund_made_before(intent_id, refund_id)
            if refund is None:
                made = await self._stripe.v1.refunds.create_async(
                    {
                        "payment_intent": intent_id,
                        "amount": amount,
                        "metadata": {"refund_id": refund_id, "payment_id": str(request.payment.id)},
                    },
                    {"idempotency_key": refund_id},
                )
                refund = _as(Refund, made)
        if refund.status in {"failed", "canceled"}:
            raise GatewayRefused(f"Stripe could not give the money back ({refund.id})")
        return RefundAnswer(refund.id, settled=refund.status == "succeeded")

    def read_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        signature = headers.get(SIGNATURE, "")
        try:
            self._stripe.construct_event(body, signature, self._webhook_secret, _ANY_TIME)
        except (stripe.SignatureVerificationError, UnicodeDecodeError, TypeError):
            # A body that is not text, or a signature outside of ASCII.
            raise InvalidSignature from None
        except (ValueError, AttributeError, RecursionError) as error:
            # Not JSON, or not an object.
            raise GatewayRefused(f"This is no webhook of Stripe: {type(error).__name__}") from None
        _check_time(signature, self._clock.now())
        try:
            event = msgspec.json.decode(body, type=Event)
            report = read(event)
        except (msgspec.DecodeError, Invalid) as error:
            raise GatewayRefused(f"This is no webhook of Stripe: {error}") from None
        return GatewayEvent(event.id, event.type, report, msgspec.json.decode(body))

    def _session_for(self, request: PaymentRequest) -> "SessionCreateParams":
        metadata = {
            "user_id": str(request.user_id),
            "facilitator_id": str(request.facilitator_id),
            "booking_id": str(request.payable.id),
            "payment_id": str(request.payment_id),
        }
        if request.event_id is not None:
            metadata["event_id"] = str(request.event_id)
        asked: SessionCreateParams = {
            "mode": "payment",
            "client_reference_id": str(request.payable.id),
            "customer_email": request.user_email,
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": request.price.currency.lower(),
                        "unit_amount": minor_units(request.price),
                        "product_data": {"name": request.title[:LONGEST_NAME], "description": request.reference},
                    },
                }
            ],
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata, "description": f"{request.title} ({request.reference})"},
            "success_url": self._returns.of(request.payment_id, Outcome.SUCCESS),
            "cancel_url": self._returns.of(request.payment_id, Outcome.CANCELLED),
        }
        if request.until is not None:
            asked["expires_at"] = int((request.until + OUTLIVES_HOLD).timestamp())
        return asked

    async def _session(self, payment: Payment, *, expand: list[str] | None = None) -> Session:
        found = await self._stripe.v1.checkout.sessions.retrieve_async(_order_id(payment), {"expand": expand or []})
        return _as(Session, found)

    async def _disputes(self, session: Session) -> Sequence[Dispute]:
        if not is_disputed(session.intent):
            return ()
        page = await self._stripe.v1.disputes.list_async({"payment_intent": session.intent_id or "", "limit": 100})
        found = (dispute_of(_as(DisputeEntity, each)) for each in reversed(page.data))
        return [dispute for dispute in found if dispute is not None]

    async def _refund_made_before(self, intent_id: str, refund_id: str) -> Refund | None:
        """Finds an earlier refund. Stripe deletes an idempotency key after a day, and retries may last longer."""
        page = await self._stripe.v1.refunds.list_async({"payment_intent": intent_id, "limit": 100})
        made = (_as(Refund, found) for found in page.data)
        return next((refund for refund in made if str(refund.refund_id) == refund_id), None)

    @asynccontextmanager
    async def _requesting(self) -> AsyncIterator[None]:
        make_final()
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            raise GatewayUnavailable(f"Stripe did not answer within {self._seconds:g} s") from None
        except stripe.StripeError as error:
            raise _error_response(error) from None
        except (msgspec.ValidationError, Invalid):
            raise GatewayUnavailable("Stripe answered something that its documents do not show") from None


def _as(kind: type[T], found: stripe.StripeObject) -> T:
    return msgspec.convert(found.to_dict(), kind)


def _order_id(payment: Payment) -> str:
    if payment.order_id is None:
        raise GatewayRefused("Stripe was not asked for this payment yet")
    return payment.order_id


def _check_time(signature: str, now: datetime) -> None:
    """Rejects timestamps that are too far in the past or in the future. The client has checked that the signed one
    exists; it would compare it with the machine's clock, and only reject old ones."""
    timestamp = next(item for item in signature.split(",") if item.startswith("t="))
    if abs(int(timestamp.removeprefix("t=")) - int(now.timestamp())) > TOLERANCE:
        raise InvalidSignature


def _error_response(error: stripe.StripeError) -> GatewayUnavailable | GatewayRefused | PaymentDisputed:
    """The error of a response, without Stripe's whole message, which repeats data of the request."""
    status = error.http_status
    if error.code == "charge_disputed":
        return PaymentDisputed()
    if isinstance(error, stripe.APIConnectionError) or status is None:
        return GatewayUnavailable("Stripe cannot be reached")
    if not 400 <= status < 500 or status in _TRIED_AGAIN:
        return GatewayUnavailable(f"Stripe answered {status}")
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return GatewayRefused(f"Stripe does not accept our key ({status})")
    return GatewayRefused(f"Stripe refused ({status}): {(error.user_message or 'no reason given')[:200]}")
