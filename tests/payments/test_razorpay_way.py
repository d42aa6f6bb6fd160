"""A booking's way with Razorpay, from its order to its refund, and what can come in between."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from uuid import uuid4

import asyncpg
import pytest

from infrastructure.settings import Settings, SettingsError
from tests.payments.gateway_harness import FAILED, PAID, PENDING, REFUNDED
from tests.payments.razorpay_harness import Shop, open_shop
from tests.support.crash_after_commit import died_after_the_commit
from tests.support.razorpay_server import QUARTER_OF_AN_HOUR


@pytest.fixture
async def shop(make_settings: Callable[..., Settings], database: asyncpg.Connection) -> AsyncIterator[Shop]:
    async with open_shop(make_settings, database) as shop:
        yield shop


async def test_a_booking_asks_for_an_order_and_a_link_that_name_it(shop: Shop) -> None:
    person = await shop.person()
    booked = await shop.books(person, event_id := await shop.event(price="1250"))
    booking_id = booked["booking"]["id"]
    [order], [link] = shop.razorpay.orders.values(), shop.razorpay.links.values()
    [payment] = await shop.database.fetch("SELECT * FROM payments")
    assert (order["amount"], order["currency"], order["receipt"]) == (125_000, "INR", str(payment["id"]))
    assert (link["amount"], link["currency"], link["reference_id"]) == (125_000, "INR", str(payment["id"]))
    assert order["notes"] == {
        "payment_id": str(payment["id"]),
        "booking_id": str(booking_id),
        "booking_reference": booked["booking"]["booking_reference"],
        "event_id": str(event_id),
        "user_id": str(person.id),
        "facilitator_id": str(shop.facilitator.id),
    }
    assert link["notes"] == order["notes"] | {"order_id": order["id"]}
    assert booked["payment_url"] == link["short_url"]
    hold: datetime = await shop.database.fetchval("SELECT hold_until FROM bookings")
    assert link["expire_by"] == int(hold.timestamp())
    shown = await shop.api.get(f"/bookings/{booking_id}", headers={"Authorization": f"Bearer {person.token}"})
    assert shown.json()["payment_reference"] == order["id"], "what a client's Checkout is opened with"


async def test_a_hold_that_is_shorter_than_a_link_may_be_leaves_the_booking_its_link(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with open_shop(make_settings, database, payment_hold_minutes="5") as shop:
        booked, _ = await shop.a_booking()
        [link] = shop.razorpay.links.values()
        assert booked["payment_url"] == link["short_url"]
        hold: datetime = await database.fetchval("SELECT hold_until FROM bookings")
        assert link["expire_by"] > hold.timestamp() + QUARTER_OF_AN_HOUR - 5 * 60


async def test_a_paid_link_completes_the_booking(shop: Shop) -> None:
    booked, _ = await shop.a_booking()
    shop.razorpay.pays_link(booked["payment_url"])
    await shop.hears_everything()
    assert await shop.state(booked) == PAID
    assert await shop.told(booked) == 1
    assert await shop.kept() == shop.razorpay.kept() == 3_000
    assert await shop.differences() == []


async def test_a_paid_order_completes_the_booking_and_its_link_is_closed(shop: Shop) -> None:
    booked, order = await shop.a_booking()
    payment = shop.razorpay.pays(order["id"])
    answer = await shop.post("/payment/success", shop.razorpay.callback(payment))
    assert answer.status_code == 200, answer.text
    assert await shop.state(booked) == PAID, "at once, before any webhook"
    await shop.hears_everything()
    await shop.works()
    [link] = shop.razorpay.links.values()
    assert link["status"] == "cancelled"
    assert await shop.state(booked) == PAID
    assert await shop.told(booked) == 1
    assert await shop.differences() == []


async def test_a_process_that_died_after_it_took_a_payment_says_so_when_asked_again(shop: Shop) -> None:
    async def asked_twice(path: str, body: dict[str, str]) -> None:
        key, answers = str(uuid4()), []
        for _ in range(2):
            answers.append(await shop.api.post(path, json=body, headers={"Idempotency-Key": key}))
            await died_after_the_commit(shop.database, key)
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()

    booked, order = await shop.a_booking()
    shop.razorpay.fails(order["id"])
    await asked_twice("/payment/failure", {"razorpay_order_id": order["id"]})
    assert await shop.state(booked) == FAILED
    await asked_twice("/payment/success", shop.razorpay.callback(shop.razorpay.pays(order["id"])))
    assert await shop.state(booked) == PAID
    assert await shop.told(booked) == 1


async def test_what_is_only_authorized_is_not_paid(shop: Shop) -> None:
    booked, order = await shop.a_booking()
    payment = shop.razorpay.pays(order["id"], captures=False)
    await shop.hears_everything()
    await shop.time_passes()
    assert await shop.parts.money.reconcile() == 1
    assert await shop.state(booked) == PENDING
    shop.razorpay.captures(payment)
    await shop.hears_everything()
    assert await shop.state(booked) == PAID


async def test_a_failed_try_can_still_be_authorized_and_captured(shop: Shop) -> None:
    booked, order = await shop.a_booking()
    payment = shop.razorpay.fails(order["id"])
    await shop.hears_everything()
    assert await shop.state(booked) == FAILED
    assert await shop.told(booked, "payment_failed") == 1
    shop.razorpay.captures(shop.razorpay.authorizes_late(payment))
    await shop.hears_everything()
    assert await shop.state(booked) == PAID
    assert await shop.told(booked) == 1


async def test_a_second_try_succeeds_where_the_first_failed(shop: Shop) -> None:
    booked, order = await shop.a_booking()
    shop.razorpay.fails(order["id"])
    shop.razorpay.pays(order["id"])
    await shop.hears_everything()
    assert await shop.state(booked) == PAID


@pytest.mark.parametrize("slow", [False, True])
async def test_a_cancelled_booking_is_given_back_once(shop: Shop, slow: bool) -> None:
    shop.razorpay.slow_refunds = slow
    person = await shop.person()
    booked = await shop.books(person, await shop.event())
    shop.razorpay.pays_link(booked["payment_url"])
    await shop.hears_everything()
    answer = await shop.post(f"/bookings/{booked['booking']['id']}/cancel", by=person)
    assert answer.json()["refund"]["amount"] == 30
    await shop.works()
    [refund] = shop.razorpay.refunds.values()
    [row] = await shop.database.fetch("SELECT * FROM refunds")
    assert (refund["amount"], refund["notes"]["refund_id"]) == (3_000, str(row["id"]))
    assert row["gateway_refund_id"] == refund["id"]
    assert row["status"] == ("pending" if slow else "processed")
    if slow:
        shop.razorpay.settles(refund)
    await shop.hears_everything()
    assert [dict(row)["status"] for row in await shop.database.fetch("SELECT status FROM refunds")] == ["processed"]
    assert await shop.told(booked, "booking_refunded") == 1
    assert await shop.state(booked) == REFUNDED
    assert await shop.kept() == shop.razorpay.kept() == 0


async def test_a_refund_that_razorpay_cannot_make_is_seen_by_an_operator(shop: Shop) -> None:
    shop.razorpay.slow_refunds = True
    person = await shop.person()
    booked = await shop.books(person, await shop.event())
    shop.razorpay.pays_link(booked["payment_url"])
    await shop.hears_everything()
    await shop.post(f"/bookings/{booked['booking']['id']}/cancel", by=person)
    await shop.works()
    [refund] = shop.razorpay.refunds.values()
    shop.razorpay.settles(refund, "failed")
    await shop.hears_everything()
    assert await shop.database.fetchval("SELECT status FROM refunds") == "failed"
    assert await shop.told(booked, "booking_refunded") == 0


async def test_a_refund_at_razorpays_own_desk_is_recorded_once(shop: Shop) -> None:
    booked, order = await shop.a_booking()
    payment = shop.razorpay.pays(order["id"])
    await shop.hears_everything()
    refund = shop.razorpay.gives_back(payment)
    again = shop.razorpay.webhook("refund.processed", refund=refund, payment=payment)
    shop.razorpay.webhooks.append(again)
    await shop.hears_everything()
    [row] = await shop.database.fetch("SELECT * FROM refunds")
    assert (row["gateway_refund_id"], row["status"]) == (refund["id"], "processed")
    assert (await shop.state(booked))[1:] == ("refunded", "refunded")
    assert await shop.kept() == shop.razorpay.kept() == 0


async def test_when_the_hold_ends_the_link_is_cancelled(shop: Shop) -> None:
    booked, _ = await shop.a_booking()
    await shop.database.execute("UPDATE bookings SET hold_until = now()")
    assert await shop.parts.money.expire_holds() == 1
    await shop.works()
    [link] = shop.razorpay.links.values()
    assert link["status"] == "cancelled"
    assert (await shop.state(booked))[0] == "cancelled"
    await shop.hears_everything()
    assert await shop.differences() == []


async def test_a_payment_after_the_hold_takes_a_place_again(shop: Shop) -> None:
    booked, order = await shop.a_booking()
    await shop.database.execute("UPDATE bookings SET hold_until = now()")
    await shop.parts.money.expire_holds()
    payment = shop.razorpay.pays(order["id"])
    await shop.hears_everything()
    assert await shop.state(booked) == PAID
    assert shop.razorpay.kept() == payment["amount"]


async def test_a_payment_after_the_place_is_gone_is_given_back(shop: Shop) -> None:
    event_id = await shop.event(capacity=1)
    late = await shop.books(await shop.person(), event_id)
    await shop.database.execute("UPDATE bookings SET hold_until = now()")
    await shop.parts.money.expire_holds()
    await shop.books(await shop.person(), event_id)
    shop.razorpay.pays(shop.order_of(late)["id"])
    await shop.hears_everything()
    assert await shop.state(late) == REFUNDED
    assert await shop.kept() == shop.razorpay.kept() == 0
    assert len(shop.razorpay.refunds) == 1


async def test_paid_by_the_order_and_by_the_link_too_the_second_is_kept_as_a_difference(shop: Shop) -> None:
    booked, order = await shop.a_booking()
    first = shop.razorpay.pays(order["id"])
    await shop.hears_everything()
    second = shop.razorpay.pays_link(booked["payment_url"])
    await shop.hears_everything()
    assert await shop.state(booked) == PAID
    assert await shop.told(booked) == 1
    assert await shop.differences() == [f"received {second['id']} after {first['id']}: it was paid twice"]


async def test_an_amount_that_razorpay_cannot_take_costs_the_link_and_not_the_place(shop: Shop) -> None:
    await shop.database.execute("UPDATE events SET currency = 'KWD', price = 1.234 WHERE id = $1", await shop.event())
    [event_id] = [row["id"] for row in await shop.database.fetch("SELECT id FROM events")]
    booked = await shop.books(await shop.person(), event_id)
    assert booked["payment_url"] is None
    assert shop.razorpay.orders == {}


@pytest.mark.parametrize(("currency", "price", "minor_units"), [("JPY", "500", 500), ("KWD", "1.230", 1230)])
async def test_minor_units_are_the_currencys_own(shop: Shop, currency: str, price: str, minor_units: int) -> None:
    event_id = await shop.event()
    await shop.database.execute(
        "UPDATE events SET currency = $2, price = $3::text::numeric WHERE id = $1", event_id, currency, price
    )
    booked = await shop.books(await shop.person(), event_id)
    [order] = shop.razorpay.orders.values()
    assert (order["amount"], order["currency"]) == (minor_units, currency)
    shop.razorpay.pays_link(booked["payment_url"])
    await shop.hears_everything()
    assert await shop.state(booked) == PAID


def test_razorpay_cannot_be_chosen_without_its_keys(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match=r"^PAYMENT_PROVIDER is razorpay, but RAZORPAY_KEY_ID is not set"):
        make_settings(payment_provider="razorpay")
    with pytest.raises(SettingsError, match=r"^RAZORPAY_KEY_SECRET is not set: give all of"):
        make_settings(payment_provider="razorpay", razorpay_key_id="rzp_test_1")
