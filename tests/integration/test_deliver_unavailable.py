"""Messages whose delivery needs our own database, while it is unavailable."""

from datetime import timedelta

import asyncpg
import pytest
from redis.asyncio import Redis

from application.outbox.delivery import DeliverMessages
from domain.outbox import Destination, RetrySchedule
from infrastructure.delivery.live_updates import LiveUpdateSender
from infrastructure.postgres.engine import Database
from infrastructure.postgres.live_updates import PostgresLiveUpdates
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from tests.support.load import many_users
from tests.support.messages import add_message, deliver_due, spend_attempts_given_back

TWO_TRIES = RetrySchedule((timedelta(0), timedelta(minutes=5)))


async def try_to_deliver(here: Database, feed_dsn: str, redis_url: str) -> None:
    feed = Database(feed_dsn)
    sender = LiveUpdateSender(PostgresLiveUpdates(feed), Redis.from_url(redis_url))
    parts = PostgresOutboxClaims(here), PostgresCircuitBreakers(here), {Destination.REALTIME: sender}
    await deliver_due(DeliverMessages(*parts, TWO_TRIES), Destination.REALTIME)
    await sender.close()
    await feed.close()


@pytest.mark.parametrize(("guarded", "becomes"), [(True, "delivered"), (False, "dead")])
async def test_unavailable_own_database_uses_no_attempt_and_without_guard_it_does(
    database: asyncpg.Connection,
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,
    becomes: str,
) -> None:
    if not guarded:
        spend_attempts_given_back(monkeypatch)
    (facilitator,) = await many_users(database, 1, role="facilitator")
    await add_message(database, destination="realtime", facilitator={"id": facilitator.id})
    here = Database(database_url)
    for _ in TWO_TRIES.delays:
        await try_to_deliver(here, "postgresql://nobody@127.0.0.1:1/none", redis_url)
        due_in = await database.fetchval("SELECT due_at - now() FROM outbox")
        assert due_in < timedelta(minutes=1), "soon, and not when the schedule says"
        await database.execute("UPDATE outbox SET due_at = now()")
    await try_to_deliver(here, database_url, redis_url)
    await here.close()
    assert await database.fetchval("SELECT status FROM outbox") == becomes
