"""A booking's way with Stripe, from its Checkout Session to its refund, and what can come in between."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from decimal import Decimal

import asyncpg
import pytest

from infrastructure.settings import Settings
from tests.payments.gateway_harness import FAILED, PAID, PENDING, REFUNDED
from tests.payments.stripe_harness import Shop, open_shop

SESSIONS = "POST /v1/checkout/sessions"


@pytest.fixture
async def shop(make_settings: Callable[..., Settings], database: asyncpg.Connection) -> AsyncIterator[Shop]:
    async with open_shop(make_settings, database) as shop:
        yield shop


async def test_a_booking_asks_for_a_session_that_names_it(shop: Shop) -> None:
    person = await shop.person()
    booked = await shop.books(person, event_id := await shop.event(price="1250"))
    session = shop.session_of(booked)
    [payment] = await shop.database.fetch("SELECT * FROM payments")
    assert booked["payment_url"] == session["url"]
    assert (session["amount_total"], session["currency"]) == (125_000, "inr")
    assert session["metadata"] == {
        "user_id": str(person.id),
        "event_id": str(event_id),
        "facilitator_id": str(shop.facilitator.id),
        "booking_id": str(booked["booking"]["id"]),
        "payment_id": str(payment["id"]),
    }
    assert session["asked"]["payment_intent_data"]["metadata"] == session["metadata"]
    [call] = shop.stripe.asked(SESSIONS)
    assert call.headers["idempotency-key"] == str(payment["id"])
    hold: datetime = await shop.database.fetchval("SELECT hold_until FROM bookings")
    assert hold.timestamp() < session["expires_at"] < hold.timestamp() + 32 * 60
    for address in (session["success_url"], session["cancel_url"]):
        page = await shop.api.get(address.removeprefix("http://127.0.0.1:5000"))
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("minutes", ["1", "1380"])
async def test_a_session_outlives_the_shortest_and_the_longest_hold(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, minutes: str
) -> None:
    async with open_shop(make_settings, database, payment_hold_minutes=minutes) as shop:
        booked, session = await shop.a_booking()
        assert booked["payment_url"] == session["url"]
        hold: datetime = await database.fetchval("SELECT hold_until FROM bookings")
        assert session["expires_at"] > hold.timestamp()


async def test_what_is_paid_completes_the_booking_and_a_cancellation_gives_it_back(shop: Shop) -> None:
    person = await shop.person()
    booked, intent = await shop.a_paid_booking(person, await shop.event())
    assert await shop.told(booked) == 1
    assert await shop.database.fetchval("SELECT gateway_payment_id FROM payments") == intent["id"]
    assert await shop.kept() == shop.stripe.kept() == 3_000

    refund = await shop.cancels(person, booked)
    assert refund is not None
    await shop.works()
    assert await shop.state(booked) == REFUNDED
    assert await shop.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    await shop.hears_everything()
    assert await shop.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    assert await shop.told(booked, "booking_refunded") == 1
    [made] = shop.stripe.refunds.values()
    refund_id = str(await shop.database.fetchval("SELECT id FROM refunds"))
    assert made["metadata"]["refund_id"] == refund_id
    [call] = shop.stripe.asked("POST /v1/refunds")
    assert call.headers["idempotency-key"] == refund_id
    assert await shop.kept() == shop.stripe.kept() == 0
    assert await shop.differences() == []


async def test_a_declined_card_fails_the_payment_and_another_card_completes_it(shop: Shop) -> None:
    booked, session = await shop.a_booking()
    shop.stripe.declines(session)
    await shop.hears_everything()
    assert await shop.state(booked) == FAILED
    assert await shop.told(booked, "payment_failed") == 1
    shop.stripe.pays(session)
    await shop.hears_everything()
    assert await shop.state(booked) == PAID


async def test_a_bank_debit_is_waited_for(shop: Shop) -> None:
    booked, session = await shop.a_booking()
    shop.stripe.pays(session, at_once=False)
    await shop.hears_everything()
    assert await shop.state(booked) == PENDING, "completed by the person, but not paid"
    await shop.time_passes()
    assert await shop.parts.money.reconcile() == 1
    assert await shop.state(booked) == PENDING
    shop.stripe.arrives(session)
    await shop.hears_everything()
    assert await shop.state(booked) == PAID


@pytest.mark.parametrize("told", [True, False], ids=["by webhook", "by asking"])
async def test_a_bank_debit_that_bounces_fails_the_payment(shop: Shop, told: bool) -> None:
    booked, session = await shop.a_booking()
    shop.stripe.pays(session, at_once=False)
    shop.stripe.bounces(session)
    if told:
        await shop.hears_everything()
    else:
        await shop.time_passes()
        await shop.parts.money.reconcile()
    assert await shop.state(booked) == FAILED
    assert shop.stripe.kept() == await shop.kept() == 0


async def test_with_all_webhooks_lost_everything_is_settled_by_asking(shop: Shop) -> None:
    paid, paid_session = await shop.a_booking()
    expired, expired_session = await shop.a_booking()
    untouched, _ = await shop.a_booking()
    shop.stripe.pays(paid_session)
    shop.stripe.expires(expired_session)
    shop.stripe.webhooks.clear()
    await shop.time_passes()
    assert await shop.parts.money.reconcile() == 3
    assert await shop.state(paid) == PAID
    assert await shop.state(expired) == FAILED
    assert await shop.state(untouched) == PENDING
    assert await shop.kept() == shop.stripe.kept() == 3_000


async def test_the_hold_s_end_closes_the_session(shop: Shop) -> None:
    booked, session = await shop.a_booking()
    await shop.the_hold_ends()
    assert session["status"] == "expired"
    await shop.hears_everything()
    assert (await shop.state(booked))[0] == "cancelled"
    assert await shop.told(booked, "booking_cancelled") == 1


async def test_what_was_paid_as_the_hold_ended_takes_the_place_again_or_is_given_back(shop: Shop) -> None:
    event_id = await shop.event(capacity=1)
    late = await shop.books(await shop.person(), event_id)
    shop.stripe.pays(shop.session_of(late))
    shop.stripe.webhooks.clear()
    await shop.the_hold_ends()
    assert await shop.state(late) == PAID, "closing the session shows that it was paid"

    event_id = await shop.event(capacity=1)
    later = await shop.books(await shop.person(), event_id)
    session = shop.session_of(later)
    await shop.database.execute("UPDATE bookings SET hold_until = now() WHERE id = $1", later["booking"]["id"])
    await shop.parts.money.expire_holds()
    await shop.books(await shop.person(), event_id)
    shop.stripe.pays(session)
    await shop.hears_everything()
    await shop.works()
    assert await shop.state(later) == REFUNDED
    assert await shop.refunds() == [("processed", Decimal(30), "place_gone")]
    assert await shop.kept() == shop.stripe.kept() == 3_000


async def test_a_cancelled_unpaid_booking_closes_its_session(shop: Shop) -> None:
    person = await shop.person()
    booked = await shop.books(person, await shop.event())
    assert await shop.cancels(person, booked) is None
    await shop.works()
    assert shop.session_of(booked)["status"] == "expired"


async def test_the_link_stays_the_same_when_the_event_gets_another_title(shop: Shop) -> None:
    person = await shop.person()
    booked = await shop.books(person, await shop.event())
    await shop.database.execute("UPDATE events SET title = 'Evening Yoga'")
    answer = await shop.post(f"/bookings/{booked['booking']['id']}/pay", by=person)
    assert answer.json() == {"payment_url": booked["payment_url"]}
    assert len(shop.stripe.sessions) == 1


@pytest.mark.parametrize(
    ("currency", "price", "units", "decimals"),
    [("JPY", "500", 500, 0), ("KWD", "1.23", 1230, 3), ("INR", "19.99", 1999, 2), ("ISK", "500", 50000, 2)],
)
async def test_amounts_are_exact_in_every_kind_of_currency(
    shop: Shop, currency: str, price: str, units: int, decimals: int
) -> None:
    person = await shop.person()
    booked, intent = await shop.a_paid_booking(person, await shop.event(price=price, currency=currency))
    assert (intent["amount_received"], intent["currency"]) == (units, currency.lower())
    assert await shop.kept(decimals) == shop.stripe.kept() == units
    await shop.cancels(person, booked)
    await shop.works()
    await shop.hears_everything()
    assert await shop.refunds() == [("processed", Decimal(price), "booking_cancelled")]
    assert await shop.kept(decimals) == shop.stripe.kept() == 0
    assert await shop.differences() == []


@pytest.mark.parametrize(("currency", "price"), [("KWD", "1.234"), ("MGA", "10.50"), ("CLF", "1"), ("LYD", "1")])
async def test_a_price_that_stripe_cannot_take_is_never_asked_for(shop: Shop, currency: str, price: str) -> None:
    booked = await shop.books(await shop.person(), await shop.event(price=price, currency=currency))
    assert booked["payment_url"] is None
    assert await shop.state(booked) == PENDING
    assert shop.stripe.receiver.requests == []
