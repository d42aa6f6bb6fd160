"""The port of payment gateways: in memory, the sandbox on PostgreSQL, and clients of local servers of Stripe and
Razorpay."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol, runtime_checkable
from uuid import uuid4

import pytest
import stripe as stripe_client

from application.payments.ports.gateways import (
    Checkout,
    GatewayEvent,
    PaymentGateway,
    PaymentRequest,
    RefundAnswer,
    RefundRequest,
)
from domain.accounts import UserId
from domain.disputes import DisputeStatus, PaymentDisputed
from domain.events import EventId
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.payments import (
    DisputeUpdate,
    GatewayUnavailable,
    GatewayUpdate,
    InvalidSignature,
    Payment,
    PaymentId,
    PaymentStatus,
    PaymentUpdate,
)
from domain.refunds import RefundId
from infrastructure.gateways.razorpay.gateway import RazorpayGateway
from infrastructure.gateways.return_addresses import SignedReturnAddresses
from infrastructure.gateways.sandbox import SandboxGateway
from infrastructure.gateways.stripe.gateway import StripeGateway
from tests.support import razorpay_server, stripe_server
from tests.support.machine_clock import SystemClock
from tests.support.memory.gateway import Behaviour, MemoryGateway
from tests.support.razorpay_server import FakeRazorpay, fake_razorpay
from tests.support.stripe_server import FakeStripe, fake_stripe

RETURNS = SignedReturnAddresses("http://here", b"a key")
SignedWebhook = tuple[bytes, Mapping[str, str]]


def inr(amount: int) -> Money:
    return Money(Decimal(amount), "INR")


class World(Protocol):
    """What the client and the gateway do."""

    async def pay(self, request: PaymentRequest, checkout: Checkout) -> SignedWebhook:
        """The client pays at the gateway, which then sends this webhook."""
        ...

    async def dispute(self, payment: Payment, status: DisputeStatus) -> SignedWebhook:
        """The payer's bank opens or decides a dispute, and the gateway sends this webhook."""
        ...


@runtime_checkable
class RemoteWorld(World, Protocol):
    """The same for a gateway behind a network, which can fail."""

    def is_unavailable(self) -> None: ...
    def loses_the_next_answer(self) -> None: ...


class MemoryWorld:
    def __init__(self, gateway: MemoryGateway) -> None:
        self.gateway = gateway

    async def pay(self, request: PaymentRequest, checkout: Checkout) -> SignedWebhook:
        event = GatewayEvent("event", "paid", self.gateway.pay(request.payment_id), {})
        body = b"a webhook"
        self.gateway.webhooks[body] = event
        return body, {"signature": "of the gateway"}

    async def dispute(self, payment: Payment, status: DisputeStatus) -> SignedWebhook:
        event = GatewayEvent("dispute", "dispute", self.gateway.dispute(payment.id, status), {})
        self.gateway.webhooks[b"a dispute"] = event
        return b"a dispute", {"signature": "of the gateway"}

    def is_unavailable(self) -> None:
        self.gateway.behaviour = Behaviour.UNAVAILABLE

    def loses_the_next_answer(self) -> None:
        self.gateway.lost_answers = 1


class SandboxWorld:
    """Its orders are in the database of the service: it is available whenever the service is."""

    def __init__(self, gateway: SandboxGateway) -> None:
        self.gateway = gateway

    async def pay(self, request: PaymentRequest, checkout: Checkout) -> SignedWebhook:
        webhook = await self.gateway.decide(checkout.order_id, "paid")
        assert webhook is not None
        return webhook

    async def dispute(self, payment: Payment, status: DisputeStatus) -> SignedWebhook:
        webhook = await self.gateway.dispute(payment.order_id or "", status)
        assert webhook is not None
        return webhook


class StripeWorld:
    def __init__(self, server: FakeStripe) -> None:
        self.server = server

    async def pay(self, request: PaymentRequest, checkout: Checkout) -> SignedWebhook:
        self.server.pays(self.server.sessions[checkout.order_id])
        (webhook,) = self.server.events("checkout.session.completed")
        return webhook.body, {"stripe-signature": stripe_server.signed(webhook.body)}

    async def dispute(self, payment: Payment, status: DisputeStatus) -> SignedWebhook:
        if status is DisputeStatus.OPEN:
            self.server.disputes_charge(self.server.intents[payment.gateway_id or ""])
        else:
            (dispute,) = self.server.disputes.values()
            self.server.updates_dispute(dispute, status)
        body = self.server.webhooks[-1].body
        return body, {"stripe-signature": stripe_server.signed(body)}

    def is_unavailable(self) -> None:
        self.server.trouble("500")

    def loses_the_next_answer(self) -> None:
        self.server.trouble("lost answer", times=1)


class RazorpayWorld:
    def __init__(self, server: FakeRazorpay) -> None:
        self.server = server

    async def pay(self, request: PaymentRequest, checkout: Checkout) -> SignedWebhook:
        self.server.pays_link(checkout.url)
        (webhook,) = self.server.webhooks_of("order.paid")
        return webhook.body, {name.lower(): value for name, value in webhook.headers.items()}

    async def dispute(self, payment: Payment, status: DisputeStatus) -> SignedWebhook:
        if status is DisputeStatus.OPEN:
            self.server.disputes_payment(self.server.payments[payment.gateway_id or ""])
        else:
            (dispute,) = self.server.disputes.values()
            self.server.updates_dispute(dispute, status)
        webhook = self.server.webhooks[-1]
        return webhook.body, {name.lower(): value for name, value in webhook.headers.items()}

    def is_unavailable(self) -> None:
        self.server.trouble("500")

    def loses_the_next_answer(self) -> None:
        self.server.trouble("lost answer", times=1)


@dataclass
class Kind:
    gateway: PaymentGateway
    world: World

    @property
    def remote(self) -> RemoteWorld:
        assert isinstance(self.world, RemoteWorld)
        return self.world

    async def opened(self, request: PaymentRequest) -> tuple[Checkout, Payment]:
        checkout = await self.gateway.open_checkout(request)
        assert checkout is not None
        return checkout, payment_of(request, self.gateway.name, checkout.order_id)

    async def paid(self) -> Payment:
        request = a_request()
        checkout, payment = await self.opened(request)
        await self.world.pay(request, checkout)
        report = (await self.gateway.look_up(payment)).report
        return payment.received(order_id=report.order_id, gateway_id=report.gateway_id)

    async def refund(self, payment: Payment, amount: int, refund_id: RefundId | None = None) -> RefundAnswer:
        return await self.gateway.refund(RefundRequest(refund_id or RefundId(uuid4()), payment, inr(amount)))

    async def refunded(self, payment: Payment) -> Money:
        return (await self.gateway.look_up(payment)).refunded


OVER_A_NETWORK = pytest.mark.parametrize("kind_of_gateway", ["memory", "stripe", "razorpay"], indirect=True)


@pytest.fixture(params=["memory", "stripe", "razorpay", "sandbox"])
def kind_of_gateway(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "sandbox":
        request.getfixturevalue("postgres_database")
    return name


@pytest.fixture
async def kind(
    kind_of_gateway: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Kind]:
    monkeypatch.setattr(stripe_client.HTTPClient, "INITIAL_DELAY", 0.01)
    if kind_of_gateway == "memory":
        gateway = MemoryGateway("gateway")
        yield Kind(gateway, MemoryWorld(gateway))
    elif kind_of_gateway == "sandbox":
        database = request.getfixturevalue("postgres_database")
        sandbox = SandboxGateway(database, public_url="http://here", secret=b"a secret")
        yield Kind(sandbox, SandboxWorld(sandbox))
    elif kind_of_gateway == "stripe":
        async with fake_stripe() as server:
            keys = (stripe_server.SECRET_KEY, stripe_server.WEBHOOK_SECRET)
            stripe = StripeGateway(*keys, base_url=server.receiver.url, returns=RETURNS, clock=SystemClock())
            yield Kind(stripe, StripeWorld(server))
            await stripe.close()
    else:
        async with fake_razorpay() as server_:
            secrets = (razorpay_server.KEY_ID, razorpay_server.KEY_SECRET, razorpay_server.WEBHOOK_SECRET)
            razorpay = RazorpayGateway(*secrets, base_url=server_.receiver.url, returns=RETURNS, clock=SystemClock())
            yield Kind(razorpay, RazorpayWorld(server_))
            await razorpay.close()


def a_request(price: Money | None = None) -> PaymentRequest:
    return PaymentRequest(
        payment_id=PaymentId(uuid4()),
        payable=BookingRef(BookingId(1)),
        reference="BK2026000001",
        event_id=EventId(2),
        user_id=UserId(3),
        user_name="Ada",
        user_email="ada@example.com",
        facilitator_id=UserId(4),
        price=price or inr(300),
        title="Morning Yoga",
        until=datetime.now(UTC) + timedelta(hours=1),
    )


def payment_of(request: PaymentRequest, gateway: str, order_id: str) -> Payment:
    return Payment(
        id=request.payment_id,
        payable=request.payable,
        gateway=gateway,
        price=request.price,
        status=PaymentStatus.PENDING,
        order_id=order_id,
        gateway_id=None,
        refunded=inr(0),
    )


async def test_checkout_is_opened_once_for_a_payment(kind: Kind) -> None:
    request = a_request()
    first, second = await kind.gateway.open_checkout(request), await kind.gateway.open_checkout(request)
    assert first == second
    assert first is not None
    assert re.match("https?://", first.url)
    assert await kind.gateway.open_checkout(a_request()) != first


@OVER_A_NETWORK
async def test_checkout_with_a_lost_answer_is_opened_once(kind: Kind) -> None:
    request = a_request()
    kind.remote.loses_the_next_answer()
    first: Checkout | None = None
    try:
        first = await kind.gateway.open_checkout(request)  # the client may have repeated it
    except GatewayUnavailable:
        first = await kind.gateway.open_checkout(request)
    assert await kind.gateway.open_checkout(request) == first


async def test_open_checkout_has_received_nothing(kind: Kind) -> None:
    request = a_request()
    _, payment = await kind.opened(request)
    record = await kind.gateway.look_up(payment)
    assert (record.report.report, record.report.payment_id) == (PaymentUpdate.OPEN, request.payment_id)
    assert (record.received, record.refunded) == (inr(0), inr(0))


async def test_paid_checkout_is_reported_with_its_amount(kind: Kind) -> None:
    request = a_request()
    checkout, payment = await kind.opened(request)
    await kind.world.pay(request, checkout)
    record = await kind.gateway.look_up(payment)
    assert (record.report.report, record.report.payment_id) == (PaymentUpdate.RECEIVED, request.payment_id)
    assert record.report.gateway_id is not None
    assert (record.report.amount, record.received, record.refunded) == (request.price, request.price, inr(0))


async def test_webhook_about_a_payment_is_verified_and_read(kind: Kind) -> None:
    request = a_request()
    checkout, payment = await kind.opened(request)
    body, headers = await kind.world.pay(request, checkout)
    event = kind.gateway.read_webhook(body, headers)
    assert isinstance(event.report, GatewayUpdate)
    assert (event.report.report, event.report.payment_id) == (PaymentUpdate.RECEIVED, request.payment_id)
    assert event.report.amount == request.price
    assert event.report.gateway_id == (await kind.gateway.look_up(payment)).report.gateway_id
    with pytest.raises(InvalidSignature):
        kind.gateway.read_webhook(body, {})


async def test_refund_is_made_once_for_its_id(kind: Kind) -> None:
    payment, refund_id = await kind.paid(), RefundId(uuid4())
    first, second = [await kind.refund(payment, 100, refund_id) for _ in range(2)]
    assert first == second
    assert first.settled
    assert await kind.refunded(payment) == inr(100)


async def test_refunds_of_a_payment_add_up(kind: Kind) -> None:
    payment = await kind.paid()
    first, second = await kind.refund(payment, 100), await kind.refund(payment, 200)
    assert first.gateway_refund_id != second.gateway_refund_id
    assert await kind.refunded(payment) == inr(300)
    assert (await kind.gateway.look_up(payment)).received == inr(300)


@OVER_A_NETWORK
async def test_refund_with_a_lost_answer_is_made_once(kind: Kind) -> None:
    payment, refund_id = await kind.paid(), RefundId(uuid4())
    kind.remote.loses_the_next_answer()
    try:
        await kind.refund(payment, 100, refund_id)  # the client may have repeated it
    except GatewayUnavailable:
        await kind.refund(payment, 100, refund_id)
    assert await kind.refunded(payment) == inr(100)


async def test_checkout_is_closed_once(kind: Kind) -> None:
    request = a_request()
    _, payment = await kind.opened(request)
    for _ in range(2):
        await kind.gateway.expire_checkout(payment)
    record = await kind.gateway.look_up(payment)
    assert record.report.report is not PaymentUpdate.RECEIVED
    assert record.received == inr(0)


async def test_closing_a_paid_checkout_does_nothing(kind: Kind) -> None:
    payment = await kind.paid()
    await kind.gateway.expire_checkout(payment)
    record = await kind.gateway.look_up(payment)
    assert (record.report.report, record.received) == (PaymentUpdate.RECEIVED, payment.price)


@OVER_A_NETWORK
async def test_unavailable_gateway_is_reported_by_every_call(kind: Kind) -> None:
    payment = await kind.paid()
    kind.remote.is_unavailable()
    with pytest.raises(GatewayUnavailable):
        await kind.gateway.open_checkout(a_request())
    with pytest.raises(GatewayUnavailable):
        await kind.gateway.look_up(payment)
    with pytest.raises(GatewayUnavailable):
        await kind.gateway.expire_checkout(replace(payment, status=PaymentStatus.PENDING))
    with pytest.raises(GatewayUnavailable):
        await kind.refund(payment, 100)


@pytest.mark.parametrize("decided", [DisputeStatus.WON, DisputeStatus.LOST])
async def test_dispute_is_reported_by_webhooks_and_by_the_record(kind: Kind, decided: DisputeStatus) -> None:
    payment = await kind.paid()
    assert (await kind.gateway.look_up(payment)).disputes in ((), [])
    for status in (DisputeStatus.OPEN, decided):
        body, headers = await kind.world.dispute(payment, status)
        report = kind.gateway.read_webhook(body, headers).report
        assert isinstance(report, DisputeUpdate)
        assert report.gateway_id == payment.gateway_id
        assert (report.dispute.status, report.dispute.amount) == (status, inr(300))
        assert not report.dispute.is_inquiry
        (recorded,) = (await kind.gateway.look_up(payment)).disputes
        assert recorded == report.dispute


async def test_disputed_payment_is_not_refunded_before_the_dispute_is_won(kind: Kind) -> None:
    payment, made_before, wanted = await kind.paid(), RefundId(uuid4()), RefundId(uuid4())
    first = await kind.refund(payment, 100, made_before)
    await kind.world.dispute(payment, DisputeStatus.OPEN)
    with pytest.raises(PaymentDisputed):
        await kind.refund(payment, 200, wanted)
    assert await kind.refund(payment, 100, made_before) == first
    assert await kind.refunded(payment) == inr(100)
    await kind.world.dispute(payment, DisputeStatus.WON)
    await kind.refund(payment, 200, wanted)
    assert await kind.refunded(payment) == inr(300)


async def test_charged_back_payment_is_not_refunded(kind: Kind) -> None:
    payment = await kind.paid()
    for status in (DisputeStatus.OPEN, DisputeStatus.LOST):
        await kind.world.dispute(payment, status)
    with pytest.raises(PaymentDisputed):
        await kind.refund(payment, 100)


async def test_usual_price_can_be_paid(kind: Kind) -> None:
    kind.gateway.refuse_price(inr(300))
    assert kind.gateway.holds_seats
