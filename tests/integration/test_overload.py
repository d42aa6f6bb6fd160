"""An overloaded API refuses at its entrance what it could not answer in time.

Only a real pool of connections shows that a request waits for one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import httpx

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.people import People

METRICS_TOKEN = "a token of the tests for metrics"
_SCRAPER = {"Authorization": f"Bearer {METRICS_TOKEN}"}


@asynccontextmanager
async def _overloaded(api: httpx.AsyncClient, database: asyncpg.Connection) -> AsyncIterator[None]:
    """More requests than the entrance lets in wait for a lock on the events, until the end."""
    async with database.transaction():
        await database.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        # Of different events: requests for the same one share an answer, and a connection.
        waiting = [asyncio.create_task(api.get(f"/events/{number}")) for number in range(1, 11)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        yield
    answers = await asyncio.gather(*waiting)
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused and len(refused) < len(answers)
    for answer in refused:
        assert answer.json() == {
            "error": "The service has too many requests at the moment. Please try again in a few seconds",
            "code": "overloaded",
            "request_id": answer.headers["x-request-id"],
        }
        assert 1 <= int(answer.headers["retry-after"]) <= 3


async def test_what_does_not_fit_is_refused_and_can_be_repeated(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    settings = make_settings(database_pool_size="1", request_queue_ms="100", metrics_token=METRICS_TOKEN)
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address, timeout=60) as api:
        people = People(api)
        ada, created, key = await people.user(), await (await people.facilitator()).creates_event(), str(uuid4())

        async with _overloaded(api, database):
            refused = await ada.post("/bookings", {"event_id": created["id"]}, key=key)
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert (await api.get("/health/live")).status_code == 200
            unsigned = await api.post("/payment/stripe/webhook", json={})
            assert unsigned.json()["code"] != "overloaded", "confirmations of payments enter"

        booked = await ada.post("/bookings", {"event_id": created["id"]}, key=key)
        assert booked.status_code == 201
        assert 'convene_refusals_total{code="overloaded"}' in (await api.get("/metrics", headers=_SCRAPER)).text
