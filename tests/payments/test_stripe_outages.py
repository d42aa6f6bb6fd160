"""Stripe unavailable, slow or disconnecting, and refunds that take time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from uuid import uuid4

import pytest
import stripe as stripe_client

from application.payments.ports.gateways import GatewayRefused, PaymentRequest, RefundRequest
from domain.accounts import UserId
from domain.events import EventId
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.payments import GatewayUnavailable, Payment, PaymentId, PaymentStatus
from domain.refunds import RefundId
from infrastructure.gateways.return_addresses import SignedReturnAddresses
from infrastructure.gateways.stripe.gateway import StripeGateway
from tests.payments.gateway_harness import PAID, PENDING, REFUNDED
from tests.payments.stripe_harness import GatewayHarness
from tests.support.gateway_server import Kind
from tests.support.machine_clock import SystemClock
from tests.support.stripe_server import SECRET_KEY, WEBHOOK_SECRET, FakeStripe, fake_stripe

SESSIONS, REFUNDS = "POST /v1/checkout/sessions", "POST /v1/refunds"
RETURNS = SignedReturnAddresses("http://here", b"a key")
THIRTY = Money(Decimal(30), "INR")


@pytest.fixture
def gateway_harness(stripe_harness: GatewayHarness) -> GatewayHarness:
    return stripe_harness


@pytest.fixture
async def stripe() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as stripe:
        yield stripe


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripe's client waits for half a second before it tries again, and then for longer."""
    monkeypatch.setattr(stripe_client.HTTPClient, "INITIAL_DELAY", 0.01)


@pytest.fixture
async def gateway(stripe: FakeStripe) -> AsyncIterator[StripeGateway]:
    gateway = a_gateway(stripe)
    yield gateway
    await gateway.close()


def a_gateway(stripe: FakeStripe, *, key: str = SECRET_KEY, seconds: float = 10) -> StripeGateway:
    return StripeGateway(
        key, WEBHOOK_SECRET, base_url=stripe.receiver.url, returns=RETURNS, clock=SystemClock(), seconds=seconds
    )


def a_request(title: str = "Morning Yoga") -> PaymentRequest:
    return PaymentRequest(
        payment_id=PaymentId(uuid4()),
        payable=BookingRef(BookingId(7)),
        reference="BK2026000007",
        event_id=EventId(5),
        user_id=UserId(3),
        user_name="Ada Lovelace",
        user_email="ada@example.com",
        facilitator_id=UserId(2),
        price=THIRTY,
        title=title,
        until=None,
    )


def a_payment(order_id: str | None, gateway_id: str | None = None) -> Payment:
    nothing = Money(Decimal(0), "INR")
    booking = BookingRef(BookingId(7))
    return Payment(PaymentId(uuid4()), booking, "stripe", THIRTY, PaymentStatus.PENDING, order_id, gateway_id, nothing)


@pytest.mark.parametrize("kind", ["500", "429", "409", "hang", "drip", "reset", "garbage", "lost answer"])
async def test_any_fault_of_stripe_means_unavailable(stripe: FakeStripe, kind: Kind) -> None:
    gateway = a_gateway(stripe, seconds=0.3 if kind in ("hang", "drip") else 10)
    stripe.trouble(kind)
    payment = a_payment("cs_test_1", "pi_1")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: gateway.open_checkout(a_request()),
        lambda: gateway.look_up(payment),
        lambda: gateway.expire_checkout(payment),
        lambda: gateway.refund(RefundRequest(RefundId(uuid4()), payment, THIRTY)),
    ]
    if kind == "lost answer":
        calls = calls[:1]
    for call in calls:
        with pytest.raises(GatewayUnavailable, match="Stripe"):
            await call()
    await gateway.close()


async def test_unreachable_server_means_unavailable(stripe: FakeStripe) -> None:
    gateway = StripeGateway(
        SECRET_KEY, WEBHOOK_SECRET, base_url="http://127.0.0.1:1", returns=RETURNS, clock=SystemClock()
    )
    with pytest.raises(GatewayUnavailable):
        await gateway.look_up(a_payment("cs_test_1"))
    await gateway.close()


async def test_temporary_fault_is_retried_with_the_same_key(stripe: FakeStripe) -> None:
    gateway = a_gateway(stripe)
    stripe.trouble("reset", SESSIONS, times=1)
    stripe.trouble("lost answer", SESSIONS, times=1)
    request = a_request()
    checkout = await gateway.open_checkout(request)
    assert checkout is not None
    assert [checkout.order_id] == list(stripe.sessions)
    assert {call.headers["idempotency-key"] for call in stripe.asked(SESSIONS)} == {str(request.payment_id)}
    assert len(stripe.asked(SESSIONS)) == 3
    await gateway.close()


async def test_refusal_is_reported_without_the_key(stripe: FakeStripe) -> None:
    gateway = a_gateway(stripe)
    with pytest.raises(GatewayRefused, match="No such thing"):
        await gateway.look_up(a_payment("cs_test_unknown"))
    with pytest.raises(GatewayRefused, match="not asked for this payment"):
        await gateway.look_up(a_payment(None))
    with pytest.raises(GatewayRefused, match="no payment that could be given back"):
        await gateway.refund(RefundRequest(RefundId(uuid4()), a_payment("cs_test_1"), THIRTY))
    await gateway.close()
    stranger = a_gateway(stripe, key="sk_live_of_somebody_else")
    with pytest.raises(GatewayRefused, match="does not accept our key") as refusal:
        await stranger.look_up(a_payment("cs_test_1"))
    assert "sk_" not in str(refusal.value)
    await stranger.close()


async def test_lost_session_is_found_again_by_its_key(stripe: FakeStripe, gateway: StripeGateway) -> None:
    request = a_request()
    stripe.trouble("lost answer", SESSIONS)
    with pytest.raises(GatewayUnavailable):
        await gateway.open_checkout(request)
    stripe.mend()
    checkout = await gateway.open_checkout(request)
    assert checkout is not None
    assert [checkout.order_id] == list(stripe.sessions)


async def test_lost_session_with_another_title_is_created_again(stripe: FakeStripe, gateway: StripeGateway) -> None:
    """The address of the first session is lost."""
    request = a_request("Morning Yoga")
    assert await gateway.open_checkout(request)
    renamed = PaymentRequest(**{name: getattr(request, name) for name in request.__slots__} | {"title": "Evening Yoga"})
    first = await gateway.open_checkout(renamed)
    again = await gateway.open_checkout(renamed)
    assert first is not None
    assert first == again
    assert len(stripe.sessions) == 2
    assert {session["metadata"]["payment_id"] for session in stripe.sessions.values()} == {str(request.payment_id)}


async def test_ended_session_is_not_expired_again(stripe: FakeStripe) -> None:
    gateway = a_gateway(stripe)
    for over in (stripe.pays, stripe.expires):
        checkout = await gateway.open_checkout(a_request())
        assert checkout is not None
        session = stripe.sessions[checkout.order_id]
        over(session)
        state = session["status"]
        await gateway.expire_checkout(a_payment(checkout.order_id))
        assert session["status"] == state
    await gateway.close()


# A whole deployment


@pytest.mark.parametrize("kind", ["500", "lost answer"])
async def test_booking_made_while_stripe_is_unavailable_gets_one_session_later(
    gateway_harness: GatewayHarness, kind: Kind
) -> None:
    gateway_harness.stripe.trouble(kind, SESSIONS)
    person = await gateway_harness.person()
    booked = await gateway_harness.books(person, await gateway_harness.event())
    assert booked["payment_url"] is None
    assert await gateway_harness.state(booked) == PENDING
    gateway_harness.stripe.mend()
    await gateway_harness.time_passes()
    assert await gateway_harness.parts.money.reconcile() == 1
    [session] = gateway_harness.stripe.sessions.values()
    answer = await gateway_harness.post(f"/bookings/{booked['booking']['id']}/pay", by=person)
    assert answer.json() == {"payment_url": session["url"]}
    gateway_harness.stripe.pays(session)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 3_000


async def test_session_paid_before_its_id_is_stored_is_matched(gateway_harness: GatewayHarness) -> None:
    gateway_harness.stripe.trouble("lost answer", SESSIONS)
    booked = await gateway_harness.books(await gateway_harness.person(), await gateway_harness.event())
    gateway_harness.stripe.mend()
    session = gateway_harness.session_of(booked)
    gateway_harness.stripe.pays(session)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.database.fetchval("SELECT gateway_reference FROM payments") == session["id"]
    assert await gateway_harness.mismatches() == []


@pytest.mark.parametrize("a_day_passes", [False, True], ids=["its key is known", "its key is forgotten"])
async def test_refund_retried_ten_times_is_paid_once(gateway_harness: GatewayHarness, a_day_passes: bool) -> None:
    person = await gateway_harness.person()
    booked, _ = await gateway_harness.a_paid_booking(person, await gateway_harness.event())
    refund = await gateway_harness.cancels(person, booked)
    assert refund is not None
    refund_id = RefundId(await gateway_harness.database.fetchval("SELECT id FROM refunds"))
    gateway_harness.stripe.trouble("lost answer", REFUNDS)
    with pytest.raises(GatewayUnavailable):
        await gateway_harness.parts.money.refunds.pay(refund_id)
    assert len(gateway_harness.stripe.refunds) == 1, "paid, and we do not know"
    gateway_harness.stripe.mend()
    for _ in range(10):
        if a_day_passes:
            gateway_harness.stripe.forget_keys()
        await gateway_harness.parts.money.refunds.pay(refund_id)
        assert await gateway_harness.refunds() == [("processed", Decimal(30), "booking_cancelled")]
        await gateway_harness.database.execute(
            "UPDATE refunds SET status = 'pending'"
        )  # as if we had died before we wrote it
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == REFUNDED
    assert len(gateway_harness.stripe.refunds) == 1
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 0


async def test_refund_webhook_before_the_answer_is_one_refund(gateway_harness: GatewayHarness) -> None:
    person = await gateway_harness.person()
    booked, _ = await gateway_harness.a_paid_booking(person, await gateway_harness.event())
    await gateway_harness.cancels(person, booked)
    gateway_harness.stripe.trouble("lost answer", REFUNDS)
    refund_id = RefundId(await gateway_harness.database.fetchval("SELECT id FROM refunds"))
    with pytest.raises(GatewayUnavailable):
        await gateway_harness.parts.money.refunds.pay(refund_id)
    await gateway_harness.send_webhooks(gateway_harness.stripe.events("refund.created", "charge.refunded"))
    gateway_harness.stripe.mend()
    await asyncio.gather(gateway_harness.run_worker(), gateway_harness.parts.money.refunds.pay(refund_id))
    assert await gateway_harness.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    assert await gateway_harness.message_count(booked, "booking_refunded") == 1
    assert len(gateway_harness.stripe.refunds) == 1


async def test_pending_refund_is_open_until_its_webhook(gateway_harness: GatewayHarness) -> None:
    person = await gateway_harness.person()
    booked, _ = await gateway_harness.a_paid_booking(person, await gateway_harness.event())
    gateway_harness.stripe.slow_refunds = True
    await gateway_harness.cancels(person, booked)
    await gateway_harness.run_worker()
    await gateway_harness.process_webhooks()
    assert await gateway_harness.refunds() == [("pending", Decimal(30), "booking_cancelled")]
    assert await gateway_harness.message_count(booked, "booking_refunded") == 0
    [refund] = gateway_harness.stripe.refunds.values()
    gateway_harness.stripe.settles(refund)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    assert await gateway_harness.message_count(booked, "booking_refunded") == 1


async def test_failed_refund_is_shown_as_failed(gateway_harness: GatewayHarness) -> None:
    person = await gateway_harness.person()
    booked, _ = await gateway_harness.a_paid_booking(person, await gateway_harness.event())
    gateway_harness.stripe.slow_refunds = True
    await gateway_harness.cancels(person, booked)
    await gateway_harness.run_worker()
    [refund] = gateway_harness.stripe.refunds.values()
    gateway_harness.stripe.settles(refund, "failed")
    await gateway_harness.process_webhooks()
    assert await gateway_harness.refunds() == [("failed", Decimal(30), "booking_cancelled")]
    assert await gateway_harness.message_count(booked, "booking_refunded") == 0
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 3_000


async def test_refund_that_fails_after_its_success_is_shown_as_failed(
    gateway_harness: GatewayHarness,
) -> None:
    person = await gateway_harness.person()
    booked, _ = await gateway_harness.a_paid_booking(person, await gateway_harness.event())
    await gateway_harness.cancels(person, booked)
    await gateway_harness.run_worker()
    await gateway_harness.process_webhooks()
    assert await gateway_harness.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    [refund] = gateway_harness.stripe.refunds.values()
    late = gateway_harness.stripe.webhook("refund.updated", dict(refund))
    gateway_harness.stripe.settles(refund, "failed")
    await gateway_harness.process_webhooks()
    await gateway_harness.send_webhooks([late])
    await gateway_harness.run_worker()
    assert await gateway_harness.refunds() == [("failed", Decimal(30), "booking_cancelled")]
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 3_000
    assert await gateway_harness.message_count(booked, "booking_refunded") == 1


async def test_refund_made_at_stripe_is_recorded(gateway_harness: GatewayHarness) -> None:
    booked, intent = await gateway_harness.a_paid_booking(await gateway_harness.person(), await gateway_harness.event())
    gateway_harness.stripe.gives_back(intent, 1_000)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.refunds() == [("processed", Decimal(10), "at_the_gateway")]
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 2_000
    gateway_harness.stripe.gives_back(intent, 2_000)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 0
    assert (await gateway_harness.state(booked))[1:] == ("refunded", "refunded")
    assert await gateway_harness.message_count(booked, "booking_refunded") == 2
    assert await gateway_harness.mismatches() == []


async def test_look_up_returns_received_and_refunded_amounts(gateway_harness: GatewayHarness) -> None:
    person = await gateway_harness.person()
    booked, intent = await gateway_harness.a_paid_booking(person, await gateway_harness.event())
    gateway_harness.stripe.gives_back(intent, 1_000)
    async with gateway_harness.parts.money.settle_payment.open_work() as work:
        payment = await work.payments.get_for(BookingRef(BookingId(booked["booking"]["id"])))
    entry = await gateway_harness.parts.money.gateways.named("stripe").look_up(payment)
    assert (entry.received, entry.refunded) == (THIRTY, Money(Decimal(10), "INR"))
    assert entry.report.gateway_id == intent["id"]
