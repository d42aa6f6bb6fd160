"""Handled notifications and delivered webhooks expire, by an index and in steps; pending and unprocessed ones stay."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from crm.database import Database
from crm.retention import Retention, rules
from crm.settings import CrmSettings
from servicekit.retention import MailFiles, Pruning, Rule
from servicekit.tasks import cancel
from tests.crm.parts import settings_for
from tests.support.messages import until
from tests.support.plans import nodes_of, rows_read
from tests.support.servers import free_port

STEP, ROWS, EXPIRED = 20, 4_000, 100

_MANY = f"""
FROM generate_series(1, {ROWS}) n,
    LATERAL (SELECT CASE WHEN n <= {EXPIRED} THEN now() - interval '5000 days' ELSE now() END - n * interval '1 ms'
             AS at) times
"""
FILL = {
    "notifications": (
        """INSERT INTO notifications (message_id, body, status, processed, received_at)
        SELECT n, '{}', 'skipped', true, at""",
        "ix_notifications_handled",
    ),
    "webhooks": (
        "INSERT INTO crm_bookings (message_id, body, booking_id, received_at) SELECT n, '{}', n, at",
        "ix_crm_bookings_received_at",
    ),
    "erased_users": ("INSERT INTO erased_users (user_id, erased_at) SELECT n, at", "ix_erased_users_erased_at"),
}


@pytest.fixture
async def database(own_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(own_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def own(own_dsn: str) -> AsyncIterator[Database]:
    own = Database(own_dsn)
    yield own
    await own.close()


@pytest.fixture
def settings(own_dsn: str) -> CrmSettings:
    return settings_for(own_dsn, SMTP_URL=f"smtp://127.0.0.1:{free_port()}")


def rule_of(settings: CrmSettings, kind: str) -> Rule:
    return {rule.kind: rule for rule in rules(settings)}[kind]


async def reads_whole(database: asyncpg.Connection, rule: Rule, *, without: str | None = None) -> bool:
    changes = database.transaction()
    await changes.start()
    try:
        # Else reading thousands of rows is cheaper than looking up twenty: real tables have millions.
        await database.execute("SET LOCAL random_page_cost = 1")
        if without:
            await database.execute(f"DROP INDEX {without}")
        nodes = nodes_of(await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {rule.prune}", rule.age, STEP))
    finally:
        await changes.rollback()
    read = sum(rows_read(node) for node in nodes if "Relation Name" in node)
    return read > 6 * STEP or any(node["Node Type"] in {"Seq Scan", "Sort"} for node in nodes)


@pytest.mark.parametrize("kind", FILL)
async def test_step_reads_what_it_prunes_and_the_rounds_go_on(
    database: asyncpg.Connection, own: Database, settings: CrmSettings, kind: str
) -> None:
    statement, index = FILL[kind]
    await database.execute(statement + _MANY)
    await database.execute(
        """INSERT INTO crm_booking_deliveries (crm_booking_id, destination, body, status, next_attempt_at)
        SELECT id, 'forward', '{}', 'failed', NULL FROM crm_bookings"""
    )
    await database.execute("ANALYZE")
    rule = rule_of(settings, kind)
    assert not await reads_whole(database, rule)
    assert await reads_whole(database, rule, without=index)
    pruning = Pruning(own, lambda *_: None, step=STEP, most_steps=2)
    assert [await pruning.prune(rule) for _ in range(4)] == [40, 40, 20, 0]


async def test_unprocessed_pending_and_coming_ones_are_kept(
    database: asyncpg.Connection, own: Database, settings: CrmSettings
) -> None:
    await database.execute(
        """INSERT INTO notifications (message_id, body, status, processed, deleted_at, received_at, event_date,
            next_attempt_at)
        SELECT message_id, '{}', status, processed, CASE WHEN deleted THEN now() END, now() - interval '500 days',
            now() + event_in, CASE WHEN status = 'pending' THEN now() END
        FROM (VALUES
            ('processed', 'failed', true, false, NULL::interval),
            ('deleted', 'skipped', false, true, '-401 days'),
            ('unprocessed', 'skipped', false, false, '-401 days'),
            ('pending', 'pending', true, true, NULL),
            ('ahead', 'skipped', true, true, '1 day')
        ) given (message_id, status, processed, deleted, event_in)"""
    )
    await database.execute(
        """INSERT INTO crm_bookings (message_id, body, booking_id, received_at)
        SELECT message_id, '{}', 1, now() - interval '500 days'
        FROM unnest(ARRAY['nothing', 'sent', 'half']) message_id"""
    )
    await database.execute(
        """INSERT INTO crm_booking_deliveries (crm_booking_id, destination, body, status, next_attempt_at)
        SELECT id, destination, '{}', status, CASE WHEN status = 'pending' THEN now() END
        FROM crm_bookings JOIN (VALUES ('sent', 'forward', 'failed'), ('half', 'payment', 'pending'),
            ('half', 'forward', 'failed')) given (message_id, destination, status) USING (message_id)"""
    )
    await database.execute(
        """INSERT INTO erased_users (user_id, erased_at)
        VALUES (1, now() - interval '401 days'), (2, now() - interval '399 days'), (3, NULL)"""
    )
    counted: dict[str, int] = {}
    files = MailFiles(settings.data / "mail", timedelta(0), lambda: pytest.fail("files are kept"), counted.__setitem__)
    await Retention(settings, own, counted.__setitem__, files).prune()
    assert counted == {"notifications": 2, "webhooks": 2, "erased_users": 1}
    left = {table: await database.fetch(f"SELECT * FROM {table}") for table in ("notifications", "crm_bookings")}
    assert {row["message_id"] for row in left["notifications"]} == {"unprocessed", "pending", "ahead"}
    assert {row["message_id"] for row in left["crm_bookings"]} == {"half"}
    assert await database.fetchval("SELECT count(*) FROM crm_booking_deliveries") == 2
    assert await database.fetchval("SELECT array_agg(user_id ORDER BY user_id) FROM erased_users") == [2, 3]


class BrokenFiles(MailFiles):
    async def prune(self) -> int:
        raise PermissionError


async def test_failure_of_one_kind_stops_neither_the_others_nor_the_next_round(
    database: asyncpg.Connection, own: Database, settings: CrmSettings
) -> None:
    await database.execute(FILL["webhooks"][0] + _MANY)
    counted: list[tuple[str, int]] = []
    reads: list[int] = []

    def count(kind: str, number: int) -> None:
        counted.append((kind, number))
        if kind == "notifications":
            raise ArithmeticError

    async def clock_is_read() -> None:
        reads.append(len(counted))

    files = BrokenFiles(settings.data, timedelta(1), lambda: pytest.fail("not asked"), count)
    running = asyncio.create_task(Retention(settings, own, count, files, every=0.01).run(clock_is_read))
    await until(lambda: len(counted) >= 5)
    await cancel([running])
    first, second = (
        [("notifications", 0), ("webhooks", EXPIRED), ("erased_users", 0)],
        [("notifications", 0), ("webhooks", 0)],
    )
    assert counted[:5] == first + second
    assert reads == [0], "the clock is read before the first round"
