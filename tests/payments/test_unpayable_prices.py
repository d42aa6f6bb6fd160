"""Prices that the gateway cannot charge are rejected when they are entered, in the shape of each contract."""

from typing import Any

import asyncpg
import httpx
import pytest

from tests.payments import razorpay_harness as razorpay
from tests.payments import stripe_harness as stripe
from tests.support.people import People, event

KWD = "Stripe takes KWD with two decimals only, not 1.234 KWD"


@pytest.fixture
def api(stripe_harness: stripe.GatewayHarness) -> httpx.AsyncClient:
    """Of a deployment that takes payments by Stripe."""
    return stripe_harness.api


def refusal(answer: httpx.Response) -> object:
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["code"] == "validation_error"
    return body.get("detail") or body["error"], body["details"]


def session(**changes: object) -> dict[str, object]:
    """A body of contract C."""
    named = event()
    times = {"start_time": named["start_datetime"], "end_time": named["end_datetime"]}
    return {"title": "Yoga", "session_type": "session", "capacity": 10, "price": 30, **times, **changes}


async def test_each_contract_rejects_a_price_with_a_third_decimal(api: httpx.AsyncClient) -> None:
    john = await People(api).facilitator()
    unpayable: dict[str, Any] = {"price": 1.234, "currency": "KWD"}
    said = ("Validation error", {"price": KWD})
    assert refusal(await john.post("/events", event(**unpayable))) == said
    assert refusal(await john.post("/api/sessions", session(**unpayable))) == said
    created = await john.creates_event(price=1.23, currency="KWD")
    assert refusal(await john.put(f"/events/{created['id']}", {"price": 1.234})) == said
    assert refusal(await john.put(f"/api/sessions/{created['id']}", {"price": 1.234})) == said
    change = {"price_per_hour": 1.234, "currency": "KWD"}
    assert refusal(await john.put("/coach/availability", change)) == (KWD, {"price_per_hour": KWD})
    assert (await john.put("/coach/availability", change | {"price_per_hour": 1.23})).status_code == 200


@pytest.mark.parametrize(
    ("price", "currency", "details"),
    [
        (10.5, "JPY", {"price": "JPY has 0 decimal places"}),
        (10.5, "MGA", {"price": "Stripe takes MGA without decimals only, not 10.50 MGA"}),
        (1, "IQD", {"currency": "Stripe does not take IQD"}),
        (0.001, "KWD", {"price": "Stripe takes KWD with two decimals only, not 0.001 KWD"}),
    ],
)
async def test_price_that_stripe_cannot_charge_is_rejected(
    api: httpx.AsyncClient, price: float, currency: str, details: dict[str, str]
) -> None:
    john = await People(api).facilitator()
    assert refusal(await john.post("/events", event(price=price, currency=currency))) == ("Validation error", details)
    assert refusal(await john.put("/coach/availability", {"price_per_hour": price, "currency": currency}))


async def test_free_or_existing_price_is_not_checked(
    api: httpx.AsyncClient, emptied_database: asyncpg.Connection
) -> None:
    john = await People(api).facilitator()
    free = await john.creates_event(price=0, currency="IQD")
    assert (free["price"], free["currency"]) == (0, "IQD")
    old = await john.creates_event(price=1, currency="KWD")
    await emptied_database.execute("UPDATE events SET price = 1.234 WHERE id = $1", old["id"])
    for change in ({"title": "Pilates"}, {"title": "Pilates", "price": 1.234}):
        assert (await john.put(f"/events/{old['id']}", change)).status_code == 200
    assert (await john.put("/coach/availability", {"price_per_hour": 0, "currency": "IQD"})).status_code == 200


async def test_rate_that_makes_the_shortest_appointment_free_is_rejected(api: httpx.AsyncClient) -> None:
    john = await People(api).facilitator()
    for price, currency, least in (
        (0.01, "EUR", "0.02"),
        (0.01, "inr", "0.02"),
        (1, "JPY", "2"),
        (0.01, "KWD", "0.02"),
    ):
        change = {"price_per_hour": price, "currency": currency}
        why = f"A session of 15 minutes would be free: give 0, or at least {least}"
        assert refusal(await john.put("/coach/availability", change)) == (why, {"price_per_hour": why})
        assert (await john.put("/coach/availability", change | {"price_per_hour": float(least)})).status_code == 200
    assert (await john.put("/coach/availability", {"price_per_hour": 0})).status_code == 200


async def test_currency_is_accepted_in_lower_case(api: httpx.AsyncClient) -> None:
    john = await People(api).facilitator()
    created = await john.creates_event(currency="eur")
    assert created["currency"] == "EUR"
    changed = await john.put(f"/events/{created['id']}", {"currency": "usd"})
    assert changed.json()["event"]["currency"] == "USD"
    made = await john.post("/api/sessions", session(currency="Eur"))
    assert made.status_code == 201, made.text
    assert (await john.put("/coach/availability", {"currency": "gbp"})).json()["currency"] == "GBP"


async def test_razorpay_has_its_own_price_rules(razorpay_harness: razorpay.GatewayHarness) -> None:
    john = await People(razorpay_harness.api).facilitator()
    why = "Razorpay takes KWD with two decimals only, not 1.234 KWD"
    said = ("Validation error", {"price": why})
    assert refusal(await john.post("/events", event(price=1.234, currency="KWD"))) == said
    for price, currency in ((1.23, "KWD"), (10.5, "MGA"), (500, "JPY")):
        assert (await john.creates_event(price=price, currency=currency))["price"] == price
