"""A series is as many payments, and its gateway need not be there when it is booked."""

from collections.abc import Callable

import asyncpg

from application.payments.checkout import CONCURRENT_REQUESTS
from domain.time import as_utc
from infrastructure.settings import Settings
from tests.payments import stripe_harness
from tests.support.appointment_harness import at, name_price
from tests.support.load import many_users


async def test_series_is_booked_while_the_gateway_is_unavailable(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with stripe_harness.open_gateway_harness(make_settings, database) as gateway_harness:
        [client] = await many_users(database, 1)
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
