"""Appointments are paid at Stripe and at Razorpay as seats are: checkout, outage, payment, refund."""

from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import pytest

from application.payments.checkout import CONCURRENT_REQUESTS
from domain.time import as_utc
from tests.payments import razorpay_harness as razorpay
from tests.payments import stripe_harness as stripe
from tests.support.appointment_harness import at, name_price
from tests.support.load import Member, many_users
from tests.support.rows import stored_row

POLICY = ((24, 50),)


async def books(gateway_harness: Any, client: Member) -> dict[str, Any]:
    """Twenty minutes at ten dinars an hour."""
    coach = await name_price(
        gateway_harness.parts.money.refunds.open_work, gateway_harness.facilitator.id, "10", "KWD", POLICY
    )
    session = {
        "coach_id": str(coach.uuid),
        "session_datetime": as_utc(at(9)).isoformat(),
        "duration_minutes": 20,
    }
    answer = await gateway_harness.post("/booking", session, by=client)
    assert answer.status_code == 201, answer.text
    booked: dict[str, Any] = answer.json()
    return booked


async def cancels(gateway_harness: Any, client: Member, booked: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {client.token}"}
    answer: httpx.Response = await gateway_harness.api.patch(
        f"/booking/{booked['id']}/status", json={"status": "cancelled"}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    await gateway_harness.run_worker()
    await gateway_harness.process_webhooks()


async def state(database: asyncpg.Connection) -> tuple[str, str]:
    row = await stored_row(database, "SELECT status, payment_status FROM coaching_bookings")
    return tuple(row)


async def given_back(database: asyncpg.Connection) -> list[tuple[str, Decimal]]:
    return [tuple(row) for row in await database.fetch("SELECT status, amount FROM refunds")]


async def test_appointment_is_paid_and_refunded_through_stripe(stripe_harness: stripe.GatewayHarness) -> None:
    gateway_harness, database = stripe_harness, stripe_harness.database
    [client] = await many_users(database, 1)
    gateway_harness.stripe.trouble("500")
    booked = await books(gateway_harness, client)
    assert (booked["payment_url"], booked["status"]) == (None, "pending")
    gateway_harness.stripe.mend()
    answer = await gateway_harness.post(f"/booking/{booked['id']}/pay", by=client)
    [session] = gateway_harness.stripe.sessions.values()
    assert answer.json() == {"payment_url": session["url"]}
    assert (session["amount_total"], session["currency"]) == (3330, "kwd")
    assert session["client_reference_id"] == session["metadata"]["booking_id"] == booked["id"]
    assert "event_id" not in session["metadata"]

    gateway_harness.stripe.pays(session)
    await gateway_harness.process_webhooks()
    assert await state(database) == ("confirmed", "completed")

    await cancels(gateway_harness, client, booked)
    assert await state(database) == ("cancelled", "refunded")
    assert await given_back(database) == [("processed", Decimal("1.67"))]
    assert gateway_harness.stripe.kept() == await gateway_harness.kept(3) == 1660
    assert await gateway_harness.mismatches() == []


@pytest.mark.parametrize("by", ["order", "link"])
async def test_appointment_is_paid_and_refunded_through_razorpay(
    razorpay_harness: razorpay.GatewayHarness, by: str
) -> None:
    gateway_harness, database = razorpay_harness, razorpay_harness.database
    [client] = await many_users(database, 1)
    gateway_harness.razorpay.trouble("500")
    booked = await books(gateway_harness, client)
    assert (booked["payment_url"], booked["status"]) == (None, "pending")
    gateway_harness.razorpay.mend()
    url = (await gateway_harness.post(f"/booking/{booked['id']}/pay", by=client)).json()["payment_url"]
    [order] = gateway_harness.razorpay.orders.values()
    assert (order["amount"], order["currency"]) == (3330, "KWD")
    assert order["notes"]["booking_id"] == booked["id"]
    assert "event_id" not in order["notes"]

    if by == "order":
        gateway_harness.razorpay.pays(order["id"])
    else:
        gateway_harness.razorpay.pays_link(url)
    await gateway_harness.process_webhooks()
    assert await state(database) == ("confirmed", "completed")

    await cancels(gateway_harness, client, booked)
    assert await state(database) == ("cancelled", "refunded")
    assert await given_back(database) == [("processed", Decimal("1.67"))]
    assert gateway_harness.razorpay.kept() == 1660
    assert await gateway_harness.mismatches() == []


async def test_series_is_booked_while_the_gateway_is_unavailable(stripe_harness: stripe.GatewayHarness) -> None:
    gateway_harness = stripe_harness
    [client] = await many_users(gateway_harness.database, 1)
    coach = await name_price(
        gateway_harness.parts.money.refunds.open_work, gateway_harness.facilitator.id, "10", "INR", ()
    )
    body = {
        "coach_id": str(coach.uuid),
        "session_datetime": as_utc(at(9)).isoformat(),
        "duration_minutes": 20,
        "rrule": "FREQ=DAILY;COUNT=52",
    }
    gateway_harness.stripe.trouble("500")
    answer = await gateway_harness.post("/booking/recurring", body, by=client)
    assert answer.status_code == 201, answer.text
    sessions = answer.json()["bookings"]
    assert [each["payment_url"] for each in sessions] == [None] * 52
    asked = {
        request.headers["idempotency-key"] for request in gateway_harness.stripe.asked("POST /v1/checkout/sessions")
    }
    assert len(asked) == CONCURRENT_REQUESTS
    gateway_harness.stripe.mend()
    link = (await gateway_harness.post(f"/booking/{sessions[-1]['id']}/pay", by=client)).json()["payment_url"]
    [made] = gateway_harness.stripe.sessions.values()
    assert (link, made["client_reference_id"]) == (made["url"], sessions[-1]["id"])
