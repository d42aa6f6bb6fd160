"""A series is as many payments, and its gateway need not be there when it is booked."""

from collections.abc import Callable

import asyncpg

from application.payments.checkout import CONCURRENT_REQUESTS
from domain.time import as_utc
from infrastructure.settings import Settings
from tests.payments import stripe_harness
from tests.support.appointment_harness import at, name_price
from tests.support.load import a_crowd


async def test_a_series_stands_though_the_gateway_is_away_and_is_not_asked_for_every_session(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with stripe_harness.open_shop(make_settings, database) as shop:
        [client] = await a_crowd(database, 1)
        coach = await name_price(shop.parts.money.refunds.open_work, shop.facilitator.id, "10", "INR", ())
        body = {
            "coach_id": str(coach.uuid),
            "session_datetime": as_utc(at(9)).isoformat(),
            "duration_minutes": 20,
            "rrule": "FREQ=DAILY;COUNT=52",
        }
        shop.stripe.trouble("500")
        answer = await shop.post("/booking/recurring", body, by=client)
        assert answer.status_code == 201, answer.text
        sessions = answer.json()["bookings"]
        assert [each["payment_url"] for each in sessions] == [None] * 52
        asked = {request.headers["idempotency-key"] for request in shop.stripe.asked("POST /v1/checkout/sessions")}
        assert len(asked) == CONCURRENT_REQUESTS
        shop.stripe.mend()
        link = (await shop.post(f"/booking/{sessions[51]['id']}/pay", by=client)).json()["payment_url"]
        [made] = shop.stripe.sessions.values()
        assert (link, made["client_reference_id"]) == (made["url"], sessions[51]["id"])
