"""A booking's way with Stripe, from its Checkout Session to its refund, and what can come in between."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import asyncpg
import pytest

from infrastructure.settings import Settings
from tests.payments.gateway_harness import FAILED, PAID, PENDING, REFUNDED
from tests.payments.stripe_harness import GatewayHarness, open_gateway_harness

SESSIONS = "POST /v1/checkout/sessions"


@pytest.fixture
def gateway_harness(stripe_harness: GatewayHarness) -> GatewayHarness:
    return stripe_harness


async def test_booking_opens_a_session_with_its_reference(gateway_harness: GatewayHarness) -> None:
    person = await gateway_harness.person()
    booked = await gateway_harness.books(person, event_id := await gateway_harness.event(price="1250"))
    session = gateway_harness.session_of(booked)
    [payment] = await gateway_harness.database.fetch("SELECT * FROM payments")
    assert booked["payment_url"] == session["url"]
    assert (session["amount_total"], session["currency"]) == (125_000, "inr")
    assert session["metadata"] == {
        "user_id": str(person.id),
        "event_id": str(event_id),
        "facilitator_id": str(gateway_harness.facilitator.id),
        "booking_id": str(booked["booking"]["id"]),
        "payment_id": str(payment["id"]),
    }
    assert session["asked"]["payment_intent_data"]["metadata"] == session["metadata"]
    [call] = gateway_harness.stripe.asked(SESSIONS)
    assert call.headers["idempotency-key"] == str(payment["id"])
    hold: datetime = await gateway_harness.database.fetchval("SELECT hold_until FROM bookings")
    assert hold.timestamp() < session["expires_at"] < hold.timestamp() + 32 * 60
    for address in (session["success_url"], session["cancel_url"]):
        page = await gateway_harness.api.get(address.removeprefix("http://127.0.0.1:5000"))
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("minutes", ["1", "1380"])
async def test_session_outlasts_the_shortest_and_the_longest_hold(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, minutes: str
) -> None:
    async with open_gateway_harness(make_settings, database, payment_hold_minutes=minutes) as gateway_harness:
        booked, session = await gateway_harness.a_booking()
        assert booked["payment_url"] == session["url"]
        hold: datetime = await database.fetchval("SELECT hold_until FROM bookings")
        assert session["expires_at"] > hold.timestamp()


async def test_paid_session_completes_the_booking_and_cancellation_refunds_it(
    gateway_harness: GatewayHarness,
) -> None:
    person = await gateway_harness.person()
    booked, intent = await gateway_harness.a_paid_booking(person, await gateway_harness.event())
    assert await gateway_harness.message_count(booked) == 1
    assert await gateway_harness.database.fetchval("SELECT gateway_payment_id FROM payments") == intent["id"]
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 3_000

    refund = await gateway_harness.cancels(person, booked)
    assert refund is not None
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == REFUNDED
    assert await gateway_harness.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    await gateway_harness.process_webhooks()
    assert await gateway_harness.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    assert await gateway_harness.message_count(booked, "booking_refunded") == 1
    [made] = gateway_harness.stripe.refunds.values()
    refund_id = str(await gateway_harness.database.fetchval("SELECT id FROM refunds"))
    assert made["metadata"]["refund_id"] == refund_id
    [call] = gateway_harness.stripe.asked("POST /v1/refunds")
    assert call.headers["idempotency-key"] == refund_id
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 0
    assert await gateway_harness.mismatches() == []


async def test_declined_card_fails_the_payment_and_another_card_completes_it(gateway_harness: GatewayHarness) -> None:
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.declines(session)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == FAILED
    assert await gateway_harness.message_count(booked, "payment_failed") == 1
    gateway_harness.stripe.pays(session)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID


async def test_bank_debit_stays_pending_until_it_is_received(gateway_harness: GatewayHarness) -> None:
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.pays(session, at_once=False)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PENDING, "completed by the person, but not paid"
    await gateway_harness.time_passes()
    assert await gateway_harness.parts.money.reconcile() == 1
    assert await gateway_harness.state(booked) == PENDING
    gateway_harness.stripe.arrives(session)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID


@pytest.mark.parametrize("by_webhook", [True, False], ids=["by webhook", "by asking"])
async def test_failed_bank_debit_fails_the_payment(gateway_harness: GatewayHarness, by_webhook: bool) -> None:
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.pays(session, at_once=False)
    gateway_harness.stripe.bounces(session)
    if by_webhook:
        await gateway_harness.process_webhooks()
    else:
        await gateway_harness.time_passes()
        await gateway_harness.parts.money.reconcile()
    assert await gateway_harness.state(booked) == FAILED
    assert gateway_harness.stripe.kept() == await gateway_harness.kept() == 0


async def test_with_all_webhooks_lost_payments_are_settled_by_look_up(gateway_harness: GatewayHarness) -> None:
    paid, paid_session = await gateway_harness.a_booking()
    expired, expired_session = await gateway_harness.a_booking()
    untouched, _ = await gateway_harness.a_booking()
    gateway_harness.stripe.pays(paid_session)
    gateway_harness.stripe.expires(expired_session)
    gateway_harness.stripe.webhooks.clear()
    await gateway_harness.time_passes()
    assert await gateway_harness.parts.money.reconcile() == 3
    assert await gateway_harness.state(paid) == PAID
    assert await gateway_harness.state(expired) == FAILED
    assert await gateway_harness.state(untouched) == PENDING
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 3_000


async def test_hold_expiry_expires_the_session(gateway_harness: GatewayHarness) -> None:
    booked, session = await gateway_harness.a_booking()
    await gateway_harness.the_hold_ends()
    assert session["status"] == "expired"
    await gateway_harness.process_webhooks()
    assert (await gateway_harness.state(booked))[0] == "cancelled"
    assert await gateway_harness.message_count(booked, "booking_cancelled") == 1


async def test_payment_during_hold_expiry_reserves_again_or_is_refunded(
    gateway_harness: GatewayHarness,
) -> None:
    event_id = await gateway_harness.event(capacity=1)
    late = await gateway_harness.books(await gateway_harness.person(), event_id)
    gateway_harness.stripe.pays(gateway_harness.session_of(late))
    gateway_harness.stripe.webhooks.clear()
    await gateway_harness.the_hold_ends()
    assert await gateway_harness.state(late) == PAID, "closing the session shows that it was paid"

    event_id = await gateway_harness.event(capacity=1)
    later = await gateway_harness.books(await gateway_harness.person(), event_id)
    session = gateway_harness.session_of(later)
    await gateway_harness.database.execute(
        "UPDATE bookings SET hold_until = now() WHERE id = $1", later["booking"]["id"]
    )
    await gateway_harness.parts.money.expire_holds()
    await gateway_harness.books(await gateway_harness.person(), event_id)
    gateway_harness.stripe.pays(session)
    await gateway_harness.process_webhooks()
    await gateway_harness.run_worker()
    assert await gateway_harness.state(later) == REFUNDED
    assert await gateway_harness.refunds() == [("processed", Decimal(30), "place_gone")]
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 3_000


async def test_cancelled_unpaid_booking_expires_its_session(gateway_harness: GatewayHarness) -> None:
    person = await gateway_harness.person()
    booked = await gateway_harness.books(person, await gateway_harness.event())
    assert await gateway_harness.cancels(person, booked) is None
    await gateway_harness.run_worker()
    assert gateway_harness.session_of(booked)["status"] == "expired"


async def test_payment_link_does_not_change_with_the_event_title(gateway_harness: GatewayHarness) -> None:
    person = await gateway_harness.person()
    booked = await gateway_harness.books(person, await gateway_harness.event())
    await gateway_harness.database.execute("UPDATE events SET title = 'Evening Yoga'")
    answer = await gateway_harness.post(f"/bookings/{booked['booking']['id']}/pay", by=person)
    assert answer.json() == {"payment_url": booked["payment_url"]}
    assert len(gateway_harness.stripe.sessions) == 1


@pytest.mark.parametrize(
    ("currency", "price", "units", "decimals"),
    [("JPY", "500", 500, 0), ("KWD", "1.23", 1230, 3), ("INR", "19.99", 1999, 2), ("ISK", "500", 50000, 2)],
)
async def test_amounts_are_exact_in_every_kind_of_currency(
    gateway_harness: GatewayHarness, currency: str, price: str, units: int, decimals: int
) -> None:
    person = await gateway_harness.person()
    booked, intent = await gateway_harness.a_paid_booking(
        person, await gateway_harness.event(price=price, currency=currency)
    )
    assert (intent["amount_received"], intent["currency"]) == (units, currency.lower())
    assert await gateway_harness.kept(decimals) == gateway_harness.stripe.kept() == units
    await gateway_harness.cancels(person, booked)
    await gateway_harness.run_worker()
    await gateway_harness.process_webhooks()
    assert await gateway_harness.refunds() == [("processed", Decimal(price), "booking_cancelled")]
    assert await gateway_harness.kept(decimals) == gateway_harness.stripe.kept() == 0
    assert await gateway_harness.mismatches() == []


@pytest.mark.parametrize(("currency", "price"), [("KWD", "1.234"), ("MGA", "10.50"), ("CLF", "1"), ("LYD", "1")])
async def test_unpayable_price_is_not_sent_to_stripe(
    gateway_harness: GatewayHarness, currency: str, price: str
) -> None:
    booked = await gateway_harness.books(
        await gateway_harness.person(), await gateway_harness.event(price=price, currency=currency)
    )
    assert booked["payment_url"] is None
    assert await gateway_harness.state(booked) == PENDING
    assert gateway_harness.stripe.receiver.requests == []
