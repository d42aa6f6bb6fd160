"""Each kind of expired rows is found by an index, and what is still needed is kept."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from infrastructure.container.retention import rules
from infrastructure.postgres.engine import Database
from infrastructure.settings import load_settings
from servicekit.retention import Pruning, Rule
from tests.architecture.test_settings_listed import NEEDED
from tests.support.plans import nodes_of, rows_read

BY_DEFAULT = load_settings(NEEDED)
RULES = {rule.kind: rule for rule in rules(BY_DEFAULT)}
ROWS, EXPIRED, STEP = 4_000, 100, 20
OLD = timedelta(days=5_000)
"""Longer than any retention."""

_PEOPLE = """
INSERT INTO users (id, email, name, role) OVERRIDING SYSTEM VALUE VALUES
    (1, 'coach@example.com', 'Coach', 'facilitator'), (2, 'client@example.com', 'Client', 'user');
INSERT INTO events (id, facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price, currency)
    OVERRIDING SYSTEM VALUE
    VALUES (1, 1, 'Yoga', '', 'session', now() - interval '5000 days', now() - interval '4999 days', 10, 0, 'INR');
INSERT INTO bookings (id, event_id, user_id, status, payment_status, created_at) OVERRIDING SYSTEM VALUE
    VALUES (1, 1, 2, 'completed', 'not_required', now() - interval '5000 days');
INSERT INTO coaching_bookings (id, client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status,
    payment_status, price, currency, refund_policy, created_at, updated_at)
    SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 2, 1, at, at + interval '1 hour', at,
        at + interval '1 hour', CASE n WHEN 1 THEN 'completed' ELSE 'confirmed' END, 'not_required', 0, 'INR', '[]',
        now() - interval '5000 days', now()
    FROM generate_series(1, 2) n,
        LATERAL (SELECT now() + CASE n WHEN 1 THEN interval '-5000 days' ELSE interval '1 day' END AS at) times;
"""

# The first rows are as old as they can be, the others new.
_MANY = f"""
FROM generate_series(1, {ROWS}) n,
    LATERAL (SELECT CASE WHEN n <= {EXPIRED} THEN now() - interval '5000 days' ELSE now() END - n * interval '1 ms'
             AS at) times
"""
_OUTBOX = """
INSERT INTO outbox (destination, lane, fact, snapshot, status, occurred_at, settled_at)
SELECT 'crm', n, 'x', '{}',"""
FILL = {
    "messages": ("outbox", f"{_OUTBOX} 'delivered', at, at"),
    "dead_letters": ("outbox", f"{_OUTBOX} 'dead', at, at"),
    "held_messages": (
        "outbox",
        """INSERT INTO outbox (destination, lane, fact, snapshot, status, occurred_at, settled_at, held_for)
        SELECT 'email', n, 'x', '{}', 'held', at, at, 'client@example.com'""",
    ),
    "unverified_mails": (
        "unverified_mails",
        "INSERT INTO unverified_mails (address, message_ids, counted_at, last_at) SELECT int4send(n), '{}', '{}', at",
    ),
    "invitations": (
        "invitations",
        """INSERT INTO invitations (event_id, name, email, invited_by, status, created_at, expires_at, answered_at)
        SELECT 1, 'A', n, 1, 'declined', at, at, at""",
    ),
    "reminders": (
        "reminders",
        """INSERT INTO reminders (booking_id, user_id, before, starts_at, due_at, status, settled_at)
        SELECT 1, 2, n * interval '1 minute', at, at, 'sent', at""",
    ),
    "gateway_payloads": (
        "gateway_events",
        """INSERT INTO gateway_events (gateway, id, kind, report, payload, received_at, settled_at)
        SELECT 'stripe', n, 'paid', '{"report": {}}', '{"email": "client@example.com"}', at, at""",
    ),
    "appointment_history": (
        "coaching_changes",
        """INSERT INTO coaching_changes (booking_id, change, changed_at, after)
        SELECT '00000000-0000-0000-0000-000000000001', 'booked', at, '{}'""",
    ),
    "sandbox_orders": (
        "sandbox_orders",
        """INSERT INTO sandbox_orders (id, payment_id, title, amount, currency, state, created_at)
        SELECT n, uuidv4(), 'Yoga', 1, 'INR', 'paid', at""",
    ),
    "live_updates": (
        "feed_entries",
        """INSERT INTO feed_entries (facilitator_id, message_id, fact, told, occurred_at, recorded_at)
        SELECT 1, uuidv4(), 'x', '{}', at, at""",
    ),
    "account_tokens": (
        "account_tokens",
        """INSERT INTO account_tokens (fingerprint, kind, user_id, email, created_at, expires_at)
        SELECT int4send(n), 'verify_email', 1, 'coach@example.com', at, at""",
    ),
    "api_keys": (
        "api_keys",
        """INSERT INTO api_keys (user_id, name, scopes, prefix, fingerprint, created_at, expires_at)
        SELECT 1, 'n', ARRAY[]::text[], 'p', int4send(n), at, at""",
    ),
    "login_tickets": (
        "login_tickets",
        """INSERT INTO login_tickets (fingerprint, user_id, token_version, login, created_at, expires_at)
        SELECT int4send(n), 1, 1, 'booking_api', at, at""",
    ),
    "enrolments": (
        "second_factors",
        "INSERT INTO second_factors (id, user_id, kind, name, created_at) SELECT uuidv4(), 1, 'totp', 'x', at",
    ),
    "login_networks": (
        "login_networks",
        "INSERT INTO login_networks (user_id, network, last_login_at) SELECT 1, int4send(n), at",
    ),
    "delivery_minutes": (
        "destination_minutes",
        "INSERT INTO destination_minutes (destination, minute, shard, attempts, failures) SELECT 'crm', at, 0, 1, 0",
    ),
    "logins": (
        "refresh_tokens",
        f"""WITH added AS (INSERT INTO logins (user_id, started_at) SELECT 1, now() FROM generate_series(1, 4000)
            RETURNING id)
        INSERT INTO refresh_tokens (fingerprint, login_id, expires_at)
        SELECT int8send(n), login_id, at FROM (SELECT row_number() OVER () AS n, id AS login_id FROM added) numbered
            JOIN (SELECT n, at {_MANY}) many USING (n)""",
    ),
}
SMALL = {"delivery_minutes"}
"""Tables that hold an hour of rows, which are read whole."""
INDEXES = {
    "messages": "ix_outbox_settled",
    "invitations": "ix_invitations_answered",
    "live_updates": "ix_feed_entries_recorded_at",
    "account_tokens": "ix_account_tokens_expires_at",
    "login_tickets": "ix_login_tickets_expires_at",
    "enrolments": "ix_second_factors_enrolments",
    "login_networks": "ix_login_networks_last_login_at",
    "dead_letters": "ix_outbox_dead_settled",
    "api_keys": "ix_api_keys_ended",
    "held_messages": "ix_outbox_held_settled",
    "unverified_mails": "ix_unverified_mails_last_at",
    "reminders": "ix_reminders_starts_at",
    "gateway_payloads": "ix_gateway_events_payload",
    "appointment_history": "ix_coaching_changes_changed_at",
    "sandbox_orders": "ix_sandbox_orders_created_at",
    "logins": "ix_refresh_tokens_expires_at",
}


@pytest.fixture
async def own(database_url: str) -> AsyncIterator[Database]:
    own = Database(database_url)
    yield own
    await own.close()


@pytest.fixture
async def people(database: asyncpg.Connection) -> asyncpg.Connection:
    """The database with a coach, a client, an event and two appointments, one of them ahead."""
    await database.execute(_PEOPLE)
    return database


async def prune(own: Database, kind: str, **limits: int) -> int:
    return await Pruning(own, lambda *_: None, **limits).prune(RULES[kind])


async def filled(database: asyncpg.Connection, kind: str) -> str:
    """Fills the table of the kind; returns its name."""
    table, statement = FILL[kind]
    await database.execute(statement if "FROM generate_series" in statement else f"{statement} {_MANY}")
    await database.execute(f"ANALYZE {table}")
    return table


async def read_by(database: asyncpg.Connection, rule: Rule, *, without: str | None = None) -> tuple[float, bool]:
    """The number of rows that one step reads, and whether it reads a table of expired rows whole or sorts; without an
    index, if it is named."""
    changes = database.transaction()
    await changes.start()
    try:
        # Else reading thousands of rows is cheaper than looking up twenty: real tables have millions.
        await database.execute("SET LOCAL random_page_cost = 1")
        # The other tables are empty here, and reading them whole is right.
        await database.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        if without:
            await database.execute(f"DROP INDEX {without}")
        nodes = nodes_of(await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {rule.prune}", rule.age, STEP))
    finally:
        await changes.rollback()
    filled = {table for table, _ in FILL.values()}
    whole = any(
        node["Node Type"] == "Sort"
        or (node["Node Type"] in {"Seq Scan", "Bitmap Heap Scan"} and node["Relation Name"] in filled)
        for node in nodes
    )
    return sum(rows_read(node) for node in nodes if "Relation Name" in node), whole


def test_every_rule_is_tested() -> None:
    assert FILL.keys() == RULES.keys()


@pytest.mark.parametrize("kind", sorted(RULES))
async def test_step_reads_what_it_prunes_and_the_rounds_go_on(
    people: asyncpg.Connection, own: Database, kind: str
) -> None:
    table = await filled(people, kind)
    if kind not in SMALL:
        read, whole = await read_by(people, RULES[kind])
        assert read <= 6 * STEP, read
        assert not whole
        _, whole = await read_by(people, RULES[kind], without=INDEXES[kind])
        assert whole, "the index is not needed"
    counted: list[int] = []
    pruning = Pruning(own, lambda _, number: counted.append(number), step=STEP, most_steps=2)
    assert [await pruning.prune(RULES[kind]) for _ in range(4)] == [40, 40, 20, 0]
    assert sum(counted) == EXPIRED
    left = ROWS if kind == "gateway_payloads" else ROWS - EXPIRED
    assert await people.fetchval(f"SELECT count(*) FROM {table}") == left


async def rows_left(database: asyncpg.Connection, table: str, column: str) -> set[Any]:
    return {row[0] for row in await database.fetch(f"SELECT {column} FROM {table}")}


async def test_pending_messages_and_dead_letters_of_payments_are_kept(
    people: asyncpg.Connection, own: Database
) -> None:
    await people.execute(
        """INSERT INTO outbox (destination, lane, fact, snapshot, status, occurred_at, settled_at)
        SELECT destination, destination || status, 'x', '{}', status, now() - $1::interval, now() - $1::interval
        FROM unnest(ARRAY['crm', 'payments']) destination, unnest(ARRAY['pending', 'dead']) status""",
        OLD,
    )
    for kind in RULES:
        await prune(own, kind)
    assert await rows_left(people, "outbox", "lane") == {"crmpending", "paymentspending", "paymentsdead"}


async def test_planned_reminder_and_one_whose_mail_is_not_decided_are_kept(
    people: asyncpg.Connection, own: Database
) -> None:
    """The reminder of a mail that is delivered, discarded or gone expires."""
    await people.execute(
        """WITH mails AS (
            INSERT INTO outbox (destination, lane, fact, snapshot, status, occurred_at)
            SELECT 'email', status, 'booking_reminder', '{}', status, now()
            FROM unnest(ARRAY['pending', 'dead', 'delivered', 'discarded']) status
            RETURNING id, status
        ), all_mails AS (SELECT id, status FROM mails UNION ALL SELECT NULL, 'gone')
        INSERT INTO reminders (booking_id, user_id, before, starts_at, due_at, status, reason, message_id)
        SELECT 1, 2, row_number() OVER () * interval '1 minute', now() - $1::interval, now() - $1::interval,
            state, CASE WHEN state = 'skipped' THEN 'moved' END, all_mails.id
        FROM all_mails, unnest(ARRAY['planned', 'queued', 'sent', 'skipped']) state""",
        OLD,
    )
    assert await prune(own, "reminders") == 13
    left = await people.fetch(
        "SELECT r.status, m.status AS mail FROM reminders r LEFT JOIN outbox m ON m.id = r.message_id"
    )
    assert sorted((row["status"], row["mail"] or "gone") for row in left) == [
        *(("planned", mail) for mail in ("dead", "delivered", "discarded", "gone", "pending")),
        ("queued", "dead"),
        ("queued", "pending"),
    ]


async def test_unapplied_webhook_keeps_its_payload_and_every_webhook_its_id(
    people: asyncpg.Connection, own: Database
) -> None:
    await people.execute(
        """INSERT INTO gateway_events (gateway, id, kind, report, payload, received_at, settled_at, outcome)
        SELECT 'stripe', id, 'paid', report::jsonb, '{"a": 1}', now() - $1::interval, now() - settled, outcome
        FROM (VALUES
            ('applied', '{"report": 1}', interval '100 days', 'applied'),
            ('just applied', '{"report": 1}', interval '89 days', 'applied'),
            ('waits', '{"report": 1}', NULL, NULL),
            ('nothing to apply', NULL, NULL, NULL)
        ) given (id, report, settled, outcome)""",
        OLD,
    )
    assert await prune(own, "gateway_payloads") == 2
    rows = await people.fetch("SELECT id, payload = '{}' AS is_empty, report, outcome FROM gateway_events")
    assert {row["id"]: row["is_empty"] for row in rows} == {
        "applied": True,
        "just applied": False,
        "waits": False,
        "nothing to apply": True,
    }
    assert {row["id"] for row in rows if row["report"] is not None} == {"applied", "just applied", "waits"}
    assert await prune(own, "gateway_payloads") == 0


async def test_history_of_an_appointment_that_is_ahead_is_kept(people: asyncpg.Connection, own: Database) -> None:
    await people.execute(
        """INSERT INTO coaching_changes (booking_id, change, changed_at, after)
        SELECT id, 'booked', now() - $1::interval, '{}' FROM coaching_bookings""",
        OLD,
    )
    assert await prune(own, "appointment_history") == 1
    assert await rows_left(people, "coaching_changes", "booking_id") == {UUID(int=2)}


async def test_order_whose_money_can_still_move_is_kept(people: asyncpg.Connection, own: Database) -> None:
    """A refund at the sandbox needs its order, and so does the decision of a dispute."""
    await people.execute(
        """INSERT INTO bookings (id, event_id, user_id, status, payment_status, created_at) OVERRIDING SYSTEM VALUE
        VALUES (2, 1, 1, 'confirmed', 'completed', now() - $1::interval)""",
        OLD,
    )
    await people.execute(
        """INSERT INTO payments (id, booking_id, coaching_booking_id, gateway, amount, currency, status, dispute,
            created_at)
        SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, booking, session, 'sandbox', 1, 'INR', 'completed',
            dispute, now()
        FROM (VALUES
            (1, 1, NULL, NULL),
            (2, 1, NULL, NULL),
            (3, NULL, '00000000-0000-0000-0000-000000000002'::uuid, NULL),
            (4, 2, NULL, NULL),
            (5, 1, NULL, 'open'),
            (6, 1, NULL, 'won'),
            (7, 1, NULL, NULL)
        ) given (n, booking, session, dispute)"""
    )
    await people.execute(
        """INSERT INTO refunds (payment_id, amount, currency, reason, status, requested_at, ended_by)
        SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 1, 'INR', 'asked', status, now(), ended_by
        FROM (VALUES (1, 'processed', NULL), (2, 'pending', NULL), (7, 'failed', 'dispute'))
            given (n, status, ended_by)"""
    )
    await people.execute(
        """INSERT INTO sandbox_orders (id, payment_id, title, amount, currency, state, created_at)
        SELECT n, ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'Yoga', 1, 'INR', 'paid', now() - $1::interval
        FROM generate_series(1, 8) n""",
        OLD,
    )
    assert await prune(own, "sandbox_orders") == 4
    refund, appointment, booking, dispute = "2", "3", "4", "5"
    assert await rows_left(people, "sandbox_orders", "id") == {refund, appointment, booking, dispute}


async def test_login_is_deleted_with_its_last_token(people: asyncpg.Connection, own: Database) -> None:
    """A token that has been replaced is kept until it expires: its second use ends the login."""
    week = timedelta(days=7)
    access = timedelta(hours=BY_DEFAULT.jwt_expires_hours)
    await people.execute(
        """INSERT INTO logins (id, user_id, started_at, ended_at)
        SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 2, now(), CASE WHEN n = 3 THEN now() END
        FROM generate_series(1, 3) n"""
    )
    tokens = {
        b"1 long expired": (1, -RULES["logins"].age - week),
        b"1 replaced, not expired": (1, week),
        b"2 long expired": (2, -RULES["logins"].age - week),
        b"2 expired": (2, -RULES["logins"].age - timedelta(minutes=1)),
        b"3 of an ended login": (3, -timedelta(days=30) - access / 2),
    }
    for fingerprint, (login, expires_in) in tokens.items():
        await people.execute(
            """INSERT INTO refresh_tokens (fingerprint, login_id, expires_at, retired_at)
            VALUES ($1, $2, now() + $3::interval, now())""",
            *(fingerprint, UUID(int=login), expires_in),
        )
    assert await prune(own, "logins", step=1, most_steps=1) == 1
    assert len(await rows_left(people, "logins", "id")) == 3
    assert await prune(own, "logins") == 2
    assert await rows_left(people, "refresh_tokens", "fingerprint") == {
        b"1 replaced, not expired",
        b"3 of an ended login",
    }
    assert await rows_left(people, "logins", "id") == {UUID(int=1), UUID(int=3)}


async def test_pending_invitation_is_kept(people: asyncpg.Connection, own: Database) -> None:
    await people.execute(
        """INSERT INTO invitations (event_id, name, email, invited_by, created_at, expires_at)
        VALUES (1, 'A', 'a@example.com', 1, now() - $1::interval, now() - $1::interval)""",
        OLD,
    )
    assert await prune(own, "invitations") == 0
