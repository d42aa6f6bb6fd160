"""Stripe away, slow, hanging up in the middle, and giving money back in its own time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from uuid import uuid4

import asyncpg
import pytest

from application.payments.ports.gateways import GatewayRefused, PaymentRequest, RefundRequest
from domain.accounts import UserId
from domain.events import EventId
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.payments import GatewayUnavailable, Payment, PaymentId, PaymentStatus
from domain.refunds import RefundId
from infrastructure.gateways.return_addresses import SignedReturnAddresses
from infrastructure.gateways.stripe.gateway import StripeGateway
from infrastructure.settings import Settings
from tests.payments.gateway_harness import PAID, PENDING, REFUNDED
from tests.payments.stripe_harness import Shop, open_shop
from tests.support.gateway_server import Kind
from tests.support.stripe_server import SECRET_KEY, WEBHOOK_SECRET, FakeStripe, fake_stripe

SESSIONS, REFUNDS = "POST /v1/checkout/sessions", "POST /v1/refunds"
RETURNS = SignedReturnAddresses("http://here", b"a key")
THIRTY = Money(Decimal(30), "INR")


@pytest.fixture
async def shop(make_settings: Callable[..., Settings], database: asyncpg.Connection) -> AsyncIterator[Shop]:
    async with open_shop(make_settings, database) as shop:
        yield shop


@pytest.fixture
async def stripe() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as stripe:
        yield stripe


@pytest.fixture
async def gateway(stripe: FakeStripe) -> AsyncIterator[StripeGateway]:
    """One that loses patience soon."""
    gateway = a_gateway(stripe, seconds=1)
    yield gateway
    await gateway.close()


def a_gateway(stripe: FakeStripe, *, key: str = SECRET_KEY, seconds: float = 10) -> StripeGateway:
    return StripeGateway(key, WEBHOOK_SECRET, base_url=stripe.receiver.url, returns=RETURNS, seconds=seconds)


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
async def test_whatever_is_wrong_at_stripe_it_is_away(stripe: FakeStripe, gateway: StripeGateway, kind: Kind) -> None:
    stripe.trouble(kind)
    payment = a_payment("cs_test_1", "pi_1")
    calls = [
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


async def test_no_server_at_all_is_away(stripe: FakeStripe) -> None:
    gateway = StripeGateway(SECRET_KEY, WEBHOOK_SECRET, base_url="http://127.0.0.1:1", returns=RETURNS)
    with pytest.raises(GatewayUnavailable):
        await gateway.look_up(a_payment("cs_test_1"))
    await gateway.close()


async def test_a_moment_s_trouble_is_tried_again_with_the_same_key(stripe: FakeStripe) -> None:
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


async def test_what_stripe_refuses_is_told_without_our_key(stripe: FakeStripe) -> None:
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


async def test_a_lost_session_is_found_again_by_its_key(stripe: FakeStripe, gateway: StripeGateway) -> None:
    request = a_request()
    stripe.trouble("lost answer", SESSIONS)
    with pytest.raises(GatewayUnavailable):
        await gateway.open_checkout(request)
    stripe.mend()
    checkout = await gateway.open_checkout(request)
    assert checkout is not None
    assert [checkout.order_id] == list(stripe.sessions)


async def test_a_lost_session_of_another_title_is_made_anew(stripe: FakeStripe, gateway: StripeGateway) -> None:
    """Nobody knows the address of the first."""
    request = a_request("Morning Yoga")
    assert await gateway.open_checkout(request)
    renamed = PaymentRequest(**{name: getattr(request, name) for name in request.__slots__} | {"title": "Evening Yoga"})
    first = await gateway.open_checkout(renamed)
    again = await gateway.open_checkout(renamed)
    assert first is not None
    assert first == again
    assert len(stripe.sessions) == 2
    assert {session["metadata"]["payment_id"] for session in stripe.sessions.values()} == {str(request.payment_id)}


async def test_a_session_that_is_over_needs_no_end(stripe: FakeStripe) -> None:
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


# A whole house


@pytest.mark.parametrize("kind", ["500", "lost answer"])
async def test_a_booking_made_while_stripe_is_away_gets_its_one_session_later(shop: Shop, kind: Kind) -> None:
    shop.stripe.trouble(kind, SESSIONS)
    person = await shop.person()
    booked = await shop.books(person, await shop.event())
    assert booked["payment_url"] is None
    assert await shop.state(booked) == PENDING
    shop.stripe.mend()
    await shop.time_passes()
    assert await shop.parts.money.reconcile() == 1
    [session] = shop.stripe.sessions.values()
    answer = await shop.post(f"/bookings/{booked['booking']['id']}/pay", by=person)
    assert answer.json() == {"payment_url": session["url"]}
    shop.stripe.pays(session)
    await shop.hears_everything()
    assert await shop.state(booked) == PAID
    assert await shop.kept() == shop.stripe.kept() == 3_000


async def test_a_session_that_is_paid_before_we_know_it_is_ours(shop: Shop) -> None:
    shop.stripe.trouble("lost answer", SESSIONS)
    booked = await shop.books(await shop.person(), await shop.event())
    shop.stripe.mend()
    session = shop.session_of(booked)
    shop.stripe.pays(session)
    await shop.hears_everything()
    assert await shop.state(booked) == PAID
    assert await shop.database.fetchval("SELECT gateway_reference FROM payments") == session["id"]
    assert await shop.differences() == []


@pytest.mark.parametrize("a_day_passes", [False, True], ids=["its key is known", "its key is forgotten"])
async def test_a_refund_that_is_tried_ten_times_is_paid_once(shop: Shop, a_day_passes: bool) -> None:
    person = await shop.person()
    booked, _ = await shop.a_paid_booking(person, await shop.event())
    refund = await shop.cancels(person, booked)
    assert refund is not None
    refund_id = RefundId(await shop.database.fetchval("SELECT id FROM refunds"))
    shop.stripe.trouble("lost answer", REFUNDS)
    with pytest.raises(GatewayUnavailable):
        await shop.parts.money.refunds.pay(refund_id)
    assert len(shop.stripe.refunds) == 1, "paid, and we do not know"
    shop.stripe.mend()
    for _ in range(10):
        if a_day_passes:
            shop.stripe.forget_keys()
        await shop.parts.money.refunds.pay(refund_id)
        assert await shop.refunds() == [("processed", Decimal(30), "booking_cancelled")]
        await shop.database.execute("UPDATE refunds SET status = 'pending'")  # as if we had died before we wrote it
    await shop.works()
    assert await shop.state(booked) == REFUNDED
    assert len(shop.stripe.refunds) == 1
    assert await shop.kept() == shop.stripe.kept() == 0


async def test_a_refund_that_is_told_before_it_is_answered_is_one_refund(shop: Shop) -> None:
    person = await shop.person()
    booked, _ = await shop.a_paid_booking(person, await shop.event())
    await shop.cancels(person, booked)
    shop.stripe.trouble("lost answer", REFUNDS)
    refund_id = RefundId(await shop.database.fetchval("SELECT id FROM refunds"))
    with pytest.raises(GatewayUnavailable):
        await shop.parts.money.refunds.pay(refund_id)
    await shop.tells(shop.stripe.events("refund.created", "charge.refunded"))
    shop.stripe.mend()
    await asyncio.gather(shop.works(), shop.parts.money.refunds.pay(refund_id))
    assert await shop.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    assert await shop.told(booked, "booking_refunded") == 1
    assert len(shop.stripe.refunds) == 1


async def test_a_refund_that_takes_its_time_is_open_until_it_is_told(shop: Shop) -> None:
    person = await shop.person()
    booked, _ = await shop.a_paid_booking(person, await shop.event())
    shop.stripe.slow_refunds = True
    await shop.cancels(person, booked)
    await shop.works()
    await shop.hears_everything()
    assert await shop.refunds() == [("pending", Decimal(30), "booking_cancelled")]
    assert await shop.told(booked, "booking_refunded") == 0
    [refund] = shop.stripe.refunds.values()
    shop.stripe.settles(refund)
    await shop.hears_everything()
    assert await shop.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    assert await shop.told(booked, "booking_refunded") == 1


async def test_a_refund_that_fails_is_shown_as_failed(shop: Shop) -> None:
    person = await shop.person()
    booked, _ = await shop.a_paid_booking(person, await shop.event())
    shop.stripe.slow_refunds = True
    await shop.cancels(person, booked)
    await shop.works()
    [refund] = shop.stripe.refunds.values()
    shop.stripe.settles(refund, "failed")
    await shop.hears_everything()
    assert await shop.refunds() == [("failed", Decimal(30), "booking_cancelled")]
    assert await shop.told(booked, "booking_refunded") == 0
    assert await shop.kept() == shop.stripe.kept() == 3_000


async def test_a_refund_that_the_bank_sends_back_after_it_succeeded_is_shown_as_failed(shop: Shop) -> None:
    person = await shop.person()
    booked, _ = await shop.a_paid_booking(person, await shop.event())
    await shop.cancels(person, booked)
    await shop.works()
    await shop.hears_everything()
    assert await shop.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    [refund] = shop.stripe.refunds.values()
    late = shop.stripe.webhook("refund.updated", dict(refund))
    shop.stripe.settles(refund, "failed")
    await shop.hears_everything()
    await shop.tells([late])
    await shop.works()
    assert await shop.refunds() == [("failed", Decimal(30), "booking_cancelled")]
    assert await shop.kept() == shop.stripe.kept() == 3_000
    assert await shop.told(booked, "booking_refunded") == 1


async def test_a_refund_made_at_stripe_s_own_desk_is_recorded(shop: Shop) -> None:
    booked, intent = await shop.a_paid_booking(await shop.person(), await shop.event())
    shop.stripe.gives_back(intent, 1_000)
    await shop.hears_everything()
    assert await shop.refunds() == [("processed", Decimal(10), "at_the_gateway")]
    assert await shop.kept() == shop.stripe.kept() == 2_000
    shop.stripe.gives_back(intent, 2_000)
    await shop.hears_everything()
    assert await shop.kept() == shop.stripe.kept() == 0
    assert (await shop.state(booked))[1:] == ("refunded", "refunded")
    assert await shop.told(booked, "booking_refunded") == 2
    assert await shop.differences() == []


async def test_the_books_tell_what_was_received_and_given_back(shop: Shop) -> None:
    person = await shop.person()
    booked, intent = await shop.a_paid_booking(person, await shop.event())
    shop.stripe.gives_back(intent, 1_000)
    async with shop.parts.money.settle_payment.open_work() as work:
        payment = await work.payments.get_for(BookingRef(BookingId(booked["booking"]["id"])))
    entry = await shop.parts.money.gateways.named("stripe").look_up(payment)
    assert (entry.received, entry.refunded) == (THIRTY, Money(Decimal(10), "INR"))
    assert entry.report.gateway_id == intent["id"]
