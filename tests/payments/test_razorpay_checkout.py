"""A booking's way with Razorpay, from its order to its refund, and what can come in between."""

from collections.abc import Callable
from datetime import datetime
from uuid import uuid4

import asyncpg
import pytest

from infrastructure.settings import Settings, SettingsError
from tests.payments.gateway_harness import FAILED, PAID, PENDING, REFUNDED
from tests.payments.razorpay_harness import GatewayHarness, open_gateway_harness
from tests.support.crash_after_commit import died_after_the_commit
from tests.support.razorpay_server import QUARTER_OF_AN_HOUR


@pytest.fixture
def gateway_harness(razorpay_harness: GatewayHarness) -> GatewayHarness:
    return razorpay_harness


async def test_booking_creates_an_order_and_a_link_with_its_reference(gateway_harness: GatewayHarness) -> None:
    person = await gateway_harness.person()
    booked = await gateway_harness.books(person, event_id := await gateway_harness.event(price="1250"))
    booking_id = booked["booking"]["id"]
    [order], [link] = gateway_harness.razorpay.orders.values(), gateway_harness.razorpay.links.values()
    [payment] = await gateway_harness.database.fetch("SELECT * FROM payments")
    assert (order["amount"], order["currency"], order["receipt"]) == (125_000, "INR", str(payment["id"]))
    assert (link["amount"], link["currency"], link["reference_id"]) == (125_000, "INR", str(payment["id"]))
    assert order["notes"] == {
        "payment_id": str(payment["id"]),
        "booking_id": str(booking_id),
        "booking_reference": booked["booking"]["booking_reference"],
        "event_id": str(event_id),
        "user_id": str(person.id),
        "facilitator_id": str(gateway_harness.facilitator.id),
    }
    assert link["notes"] == order["notes"] | {"order_id": order["id"]}
    assert booked["payment_url"] == link["short_url"]
    hold: datetime = await gateway_harness.database.fetchval("SELECT hold_until FROM bookings")
    assert link["expire_by"] == int(hold.timestamp())
    shown = await gateway_harness.api.get(
        f"/bookings/{booking_id}", headers={"Authorization": f"Bearer {person.token}"}
    )
    assert shown.json()["payment_reference"] == order["id"], "what a client's Checkout is opened with"


async def test_hold_shorter_than_the_minimum_expiry_still_gets_a_link(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with open_gateway_harness(make_settings, database, payment_hold_minutes="5") as gateway_harness:
        booked, _ = await gateway_harness.a_booking()
        [link] = gateway_harness.razorpay.links.values()
        assert booked["payment_url"] == link["short_url"]
        hold: datetime = await database.fetchval("SELECT hold_until FROM bookings")
        assert link["expire_by"] > hold.timestamp() + QUARTER_OF_AN_HOUR - 5 * 60


async def test_paid_link_completes_the_booking(gateway_harness: GatewayHarness) -> None:
    booked, _ = await gateway_harness.a_booking()
    gateway_harness.razorpay.pays_link(booked["payment_url"])
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.message_count(booked) == 1
    assert await gateway_harness.kept() == gateway_harness.razorpay.kept() == 3_000
    assert await gateway_harness.mismatches() == []


async def test_paid_order_completes_the_booking_and_closes_its_link(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    payment = gateway_harness.razorpay.pays(order["id"])
    answer = await gateway_harness.post("/payment/success", gateway_harness.razorpay.callback(payment))
    assert answer.status_code == 200, answer.text
    assert await gateway_harness.state(booked) == PAID, "at once, before any webhook"
    await gateway_harness.process_webhooks()
    await gateway_harness.run_worker()
    [link] = gateway_harness.razorpay.links.values()
    assert link["status"] == "cancelled"
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.message_count(booked) == 1
    assert await gateway_harness.mismatches() == []


async def test_callback_repeated_after_a_crash_returns_the_recorded_payment(
    gateway_harness: GatewayHarness,
) -> None:
    async def asked_twice(path: str, body: dict[str, str]) -> None:
        key, answers = str(uuid4()), []
        for _ in range(2):
            answers.append(await gateway_harness.api.post(path, json=body, headers={"Idempotency-Key": key}))
            await died_after_the_commit(gateway_harness.database, key)
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()

    booked, order = await gateway_harness.a_booking()
    gateway_harness.razorpay.fails(order["id"])
    await asked_twice("/payment/failure", {"razorpay_order_id": order["id"]})
    assert await gateway_harness.state(booked) == FAILED
    await asked_twice("/payment/success", gateway_harness.razorpay.callback(gateway_harness.razorpay.pays(order["id"])))
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.message_count(booked) == 1


async def test_authorized_payment_is_not_completed(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    payment = gateway_harness.razorpay.pays(order["id"], captures=False)
    await gateway_harness.process_webhooks()
    await gateway_harness.time_passes()
    assert await gateway_harness.parts.money.reconcile() == 1
    assert await gateway_harness.state(booked) == PENDING
    gateway_harness.razorpay.captures(payment)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID


async def test_failed_payment_can_still_be_authorized_and_captured(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    payment = gateway_harness.razorpay.fails(order["id"])
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == FAILED
    assert await gateway_harness.message_count(booked, "payment_failed") == 1
    gateway_harness.razorpay.captures(gateway_harness.razorpay.authorizes_late(payment))
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.message_count(booked) == 1


async def test_second_payment_succeeds_after_a_failed_one(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    gateway_harness.razorpay.fails(order["id"])
    gateway_harness.razorpay.pays(order["id"])
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID


@pytest.mark.parametrize("slow", [False, True])
async def test_cancelled_booking_is_refunded_once(gateway_harness: GatewayHarness, slow: bool) -> None:
    gateway_harness.razorpay.slow_refunds = slow
    person = await gateway_harness.person()
    booked = await gateway_harness.books(person, await gateway_harness.event())
    gateway_harness.razorpay.pays_link(booked["payment_url"])
    await gateway_harness.process_webhooks()
    answer = await gateway_harness.post(f"/bookings/{booked['booking']['id']}/cancel", by=person)
    assert answer.json()["refund"]["amount"] == 30
    await gateway_harness.run_worker()
    [refund] = gateway_harness.razorpay.refunds.values()
    [row] = await gateway_harness.database.fetch("SELECT * FROM refunds")
    assert (refund["amount"], refund["notes"]["refund_id"]) == (3_000, str(row["id"]))
    assert row["gateway_refund_id"] == refund["id"]
    assert row["status"] == ("pending" if slow else "processed")
    if slow:
        gateway_harness.razorpay.settles(refund)
    await gateway_harness.process_webhooks()
    assert [dict(row)["status"] for row in await gateway_harness.database.fetch("SELECT status FROM refunds")] == [
        "processed"
    ]
    assert await gateway_harness.message_count(booked, "booking_refunded") == 1
    assert await gateway_harness.state(booked) == REFUNDED
    assert await gateway_harness.kept() == gateway_harness.razorpay.kept() == 0


async def test_refund_that_razorpay_cannot_make_is_shown_as_failed(gateway_harness: GatewayHarness) -> None:
    gateway_harness.razorpay.slow_refunds = True
    person = await gateway_harness.person()
    booked = await gateway_harness.books(person, await gateway_harness.event())
    gateway_harness.razorpay.pays_link(booked["payment_url"])
    await gateway_harness.process_webhooks()
    await gateway_harness.post(f"/bookings/{booked['booking']['id']}/cancel", by=person)
    await gateway_harness.run_worker()
    [refund] = gateway_harness.razorpay.refunds.values()
    gateway_harness.razorpay.settles(refund, "failed")
    await gateway_harness.process_webhooks()
    assert await gateway_harness.database.fetchval("SELECT status FROM refunds") == "failed"
    assert await gateway_harness.message_count(booked, "booking_refunded") == 0


async def test_refund_made_at_razorpay_is_recorded_once(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    payment = gateway_harness.razorpay.pays(order["id"])
    await gateway_harness.process_webhooks()
    refund = gateway_harness.razorpay.gives_back(payment)
    again = gateway_harness.razorpay.webhook("refund.processed", refund=refund, payment=payment)
    gateway_harness.razorpay.webhooks.append(again)
    await gateway_harness.process_webhooks()
    [row] = await gateway_harness.database.fetch("SELECT * FROM refunds")
    assert (row["gateway_refund_id"], row["status"]) == (refund["id"], "processed")
    assert (await gateway_harness.state(booked))[1:] == ("refunded", "refunded")
    assert await gateway_harness.kept() == gateway_harness.razorpay.kept() == 0


async def test_hold_expiry_cancels_the_link(gateway_harness: GatewayHarness) -> None:
    booked, _ = await gateway_harness.a_booking()
    await gateway_harness.database.execute("UPDATE bookings SET hold_until = now()")
    assert await gateway_harness.parts.money.expire_holds() == 1
    await gateway_harness.run_worker()
    [link] = gateway_harness.razorpay.links.values()
    assert link["status"] == "cancelled"
    assert (await gateway_harness.state(booked))[0] == "cancelled"
    await gateway_harness.process_webhooks()
    assert await gateway_harness.mismatches() == []


async def test_payment_after_hold_expiry_reserves_the_seat_again(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    await gateway_harness.database.execute("UPDATE bookings SET hold_until = now()")
    await gateway_harness.parts.money.expire_holds()
    payment = gateway_harness.razorpay.pays(order["id"])
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID
    assert gateway_harness.razorpay.kept() == payment["amount"]


async def test_payment_after_the_seat_was_taken_is_refunded(gateway_harness: GatewayHarness) -> None:
    event_id = await gateway_harness.event(capacity=1)
    late = await gateway_harness.books(await gateway_harness.person(), event_id)
    await gateway_harness.database.execute("UPDATE bookings SET hold_until = now()")
    await gateway_harness.parts.money.expire_holds()
    await gateway_harness.books(await gateway_harness.person(), event_id)
    gateway_harness.razorpay.pays(gateway_harness.order_of(late)["id"])
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(late) == REFUNDED
    assert await gateway_harness.kept() == gateway_harness.razorpay.kept() == 0
    assert len(gateway_harness.razorpay.refunds) == 1


async def test_second_payment_of_order_and_link_is_recorded_as_a_mismatch(
    gateway_harness: GatewayHarness,
) -> None:
    booked, order = await gateway_harness.a_booking()
    first = gateway_harness.razorpay.pays(order["id"])
    await gateway_harness.process_webhooks()
    second = gateway_harness.razorpay.pays_link(booked["payment_url"])
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.message_count(booked) == 1
    assert await gateway_harness.mismatches() == [f"received {second['id']} after {first['id']}: it was paid twice"]


async def test_unpayable_amount_costs_the_link_but_not_the_seat(
    gateway_harness: GatewayHarness,
) -> None:
    await gateway_harness.database.execute(
        "UPDATE events SET currency = 'KWD', price = 1.234 WHERE id = $1", await gateway_harness.event()
    )
    [event_id] = [row["id"] for row in await gateway_harness.database.fetch("SELECT id FROM events")]
    booked = await gateway_harness.books(await gateway_harness.person(), event_id)
    assert booked["payment_url"] is None
    assert gateway_harness.razorpay.orders == {}


@pytest.mark.parametrize(("currency", "price", "minor_units"), [("JPY", "500", 500), ("KWD", "1.230", 1230)])
async def test_minor_units_are_those_of_the_currency(
    gateway_harness: GatewayHarness, currency: str, price: str, minor_units: int
) -> None:
    event_id = await gateway_harness.event()
    await gateway_harness.database.execute(
        "UPDATE events SET currency = $2, price = $3::text::numeric WHERE id = $1", event_id, currency, price
    )
    booked = await gateway_harness.books(await gateway_harness.person(), event_id)
    [order] = gateway_harness.razorpay.orders.values()
    assert (order["amount"], order["currency"]) == (minor_units, currency)
    gateway_harness.razorpay.pays_link(booked["payment_url"])
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID


def test_razorpay_provider_requires_its_keys(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match=r"^PAYMENT_PROVIDER is razorpay, but RAZORPAY_KEY_ID is not set"):
        make_settings(payment_provider="razorpay")
    with pytest.raises(SettingsError, match=r"^RAZORPAY_KEY_SECRET is not set: give all of"):
        make_settings(payment_provider="razorpay", razorpay_key_id="rzp_test_1")
