"""How deliveries stand, in figures."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from application.outbox.ports import CircuitBreaker, DestinationStatistics
from domain.outbox import Destination
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.statistics import PostgresDeliveryStatistics
from tests.support.messages import add_message


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[PostgresDeliveryStatistics]:
    own = Database(database_url)
    yield PostgresDeliveryStatistics(own)
    await own.close()


async def figures_of(reader: PostgresDeliveryStatistics, destination: Destination) -> DestinationStatistics:
    return next(each for each in await reader.by_destination() if each.destination is destination)


async def test_every_destination_has_statistics_and_an_idle_one_has_zeros(reader: PostgresDeliveryStatistics) -> None:
    statistics = await reader.by_destination()
    assert [each.destination for each in statistics] == list(Destination)
    assert statistics[0] == DestinationStatistics(
        Destination.CRM, 0, None, 0, 0, CircuitBreaker.CLOSED, None, False, None
    )


async def test_pending_and_dead_messages_are_counted_by_destination(
    database: asyncpg.Connection, reader: PostgresDeliveryStatistics
) -> None:
    late, later, dead, delivered = [await add_message(database) for _ in range(4)]
    await add_message(database, destination="email")
    await database.execute("UPDATE outbox SET due_at = now() - interval '90 s' WHERE id = $1", late)
    await database.execute("UPDATE outbox SET due_at = now() + interval '1 h' WHERE id = $1", later)
    await database.execute("UPDATE outbox SET status = 'dead' WHERE id = $1", dead)
    await database.execute("UPDATE outbox SET status = 'delivered' WHERE id = $1", delivered)
    crm = await figures_of(reader, Destination.CRM)
    assert (crm.pending, crm.dead) == (2, 1)
    assert crm.oldest_due_seconds is not None
    assert 90 <= crm.oldest_due_seconds < 900
    assert (await figures_of(reader, Destination.EMAIL)).pending == 1


async def test_message_that_is_not_due_is_not_late(
    database: asyncpg.Connection, reader: PostgresDeliveryStatistics
) -> None:
    await add_message(database)
    await database.execute("UPDATE outbox SET due_at = now() + interval '1 h'")
    crm = await figures_of(reader, Destination.CRM)
    assert (crm.pending, crm.oldest_due_seconds) == (1, None)


@pytest.mark.parametrize(
    ("columns", "circuit", "paused", "halted"),
    [
        ("tripped_at = now(), probe_at = now() + interval '30 s'", CircuitBreaker.OPEN, False, False),
        ("tripped_at = now(), probe_at = now() - interval '1 s'", CircuitBreaker.HALF_OPEN, False, False),
        ("paused_until = now() + interval '1 h'", CircuitBreaker.CLOSED, True, False),
        ("halted_at = now()", CircuitBreaker.CLOSED, False, True),
    ],
)
async def test_reason_for_not_serving_a_destination_is_included(
    database: asyncpg.Connection,
    reader: PostgresDeliveryStatistics,
    columns: str,
    circuit: CircuitBreaker,
    paused: bool,
    halted: bool,
) -> None:
    await database.execute("INSERT INTO destinations (name, reason) VALUES ('crm', 'because')")
    await database.execute(f"UPDATE destinations SET {columns}")
    crm = await figures_of(reader, Destination.CRM)
    assert (crm.circuit, crm.paused_until is not None, crm.halted, crm.reason) == (circuit, paused, halted, "because")


async def test_expired_pause_is_not_reported(database: asyncpg.Connection, reader: PostgresDeliveryStatistics) -> None:
    await database.execute(
        "INSERT INTO destinations (name, paused_until, reason) VALUES ('crm', now() - interval '1 s', '429')"
    )
    crm = await figures_of(reader, Destination.CRM)
    assert (crm.paused_until, crm.reason) == (None, None)
