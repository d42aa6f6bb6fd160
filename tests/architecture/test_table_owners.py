"""Each table is written by the package of one context; `EXCEPTIONS` has the statements that write more, with reasons.

The test reads the source of the adapters: SQL in strings, and `insert`, `update`, `delete` and rows of SQLAlchemy.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import infrastructure
from infrastructure.postgres import tables

ROOT = Path(infrastructure.__path__[0])

OWNERS = {
    "postgres/accounts": {
        *("users", "facilitator_profiles", "logins", "refresh_tokens", "login_networks", "oauth_attempts"),
        *("account_tokens", "api_keys", "unverified_mails", "second_factors", "recovery_codes", "login_tickets"),
    },
    "postgres/events": {
        *("events", "reviews", "facilitator_counts", "facilitator_count_changes", "counted_facilitators"),
    },
    "postgres/bookings": {"bookings", "invitations"},
    "postgres/appointments": {"coaching_bookings", "coaching_changes", "coaching_attachments", "coaches"},
    "postgres/audit": {"audit_log", "audit_chain"},
    "postgres/payments": {"payments", "refunds", "disputes", "payment_differences", "gateway_events"},
    "postgres/reminders": {"reminders"},
    "postgres/calendars": {
        *("calendar_connections", "calendar_entries", "calendar_busy", "calendar_feeds", "calendar_identity"),
    },
    "postgres/erasure": {"erasures"},
    "postgres/outbox": {"outbox", "change_mails", "delivery_attempts", "destinations", "destination_minutes"},
    "postgres/statistics.py": {"delivery_counts"},
    "postgres/live_updates.py": {"feed_entries"},
    "postgres/idempotency.py": {"idempotency_keys"},
    "gateways/sandbox.py": {"sandbox_orders"},
}
"""Package or module: the tables that it alone writes."""

EXCEPTIONS = {
    "postgres/bookings/seats.py": (
        {"events", "payments", "outbox", "reminders", "idempotency_keys"},
        "A seat is reserved by one statement, which holds the event's row for one round trip (decision 1).",
    ),
    "postgres/bookings/seat_batches.py": (
        {"events", "idempotency_keys"},
        "Seats for several requests are reserved by one statement, as a single one is (decision 14).",
    ),
    "postgres/appointments/messages.py": (
        {"outbox", "change_mails"},
        "Messages about appointments, enqueued through `PostgresMessages` when an appointment is saved.",
    ),
    "postgres/reminders/repository.py": (
        {"outbox"},
        "A due reminder gets its message and the message's id in one statement, so that it is queued once.",
    ),
}

QUERY_MODULES = ("*queries.py", "search.py", "audit.py")

_WRITES = re.compile(
    r"\bINSERT\s+INTO\s+(?P<inserted>\S+)"
    r"|\bDELETE\s+FROM\s+(?P<deleted>\S+)"
    r"|(?<!DO )\bUPDATE\s+(?P<updated>\S+)(?:\s+(?:AS\s+)?\w+)?\s+SET\b"
)
_LOCKS = re.compile(r"\bFOR\s+(?:NO\s+KEY\s+)?UPDATE\b")
_ROWS = {name: row.__tablename__ for name, row in vars(tables).items() if name.endswith("Row")}


def adapters() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(("postgres/migrations/", "postgres/tables/")):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def strings(module: ast.Module) -> Iterator[str]:
    """Without docstrings. What is put into an f-string is a question mark."""
    documentation = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr) and id(node) not in documentation:
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation | parts:
            yield node.value


def written(module: ast.Module) -> set[str]:
    """The tables that a module writes; a question mark for one that only the running program names."""
    found = {name for text in strings(module) for match in _WRITES.finditer(text) for name in match.groups() if name}
    rows = {name: {table} for name, table in _ROWS.items()}
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and "__table__" in ast.dump(node.value):
            named = _tables_in(node.value, rows)
            rows |= {target.id: named for target in node.targets if isinstance(target, ast.Name)}
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in {"insert", "update", "delete"}:
                found |= _tables_in(node.args[0], rows) or {"?"}
            elif node.func.id in _ROWS:
                found.add(_ROWS[node.func.id])
    return {name.rstrip("(") for name in found}


def _tables_in(node: ast.AST, rows: dict[str, set[str]]) -> set[str]:
    names = (each.id for each in ast.walk(node) if isinstance(each, ast.Name))
    return {table for name in names for table in rows.get(name, ())}


def owner(name: str) -> str:
    return next((each for each in OWNERS if name == each or name.startswith(f"{each}/")), "")


def violations(modules: Iterable[tuple[str, ast.Module]]) -> set[tuple[str, str]]:
    return {
        (name, table)
        for name, module in modules
        for table in written(module) - OWNERS.get(owner(name), set()) - EXCEPTIONS.get(name, (set(), ""))[0]
    }


def test_every_table_is_written_by_its_owner_only() -> None:
    assert violations(adapters()) == set()


def test_every_table_has_one_owner_that_writes_it() -> None:
    of_context: dict[str, set[str]] = defaultdict(set)
    for name, module in adapters():
        of_context[owner(name)] |= written(module)
    assert sorted(table for owned in OWNERS.values() for table in owned) == sorted(_ROWS.values())
    assert {name: owned - of_context[name] for name, owned in OWNERS.items()} == {name: set() for name in OWNERS}


def test_every_exception_is_needed() -> None:
    by_name = dict(adapters())
    for name, (exempt, _) in EXCEPTIONS.items():
        assert exempt <= written(by_name[name]), name


def test_queries_write_and_lock_nothing() -> None:
    found = {
        name
        for name, module in adapters()
        if any(Path(name).match(f"postgres/*/{pattern}") for pattern in QUERY_MODULES)
        and (written(module) or any(_LOCKS.search(text) for text in strings(module)))
    }
    assert found == set()


@pytest.mark.parametrize(
    ("source", "tables_written"),
    [
        ('A = "INSERT INTO events (id) VALUES (1) ON CONFLICT DO UPDATE SET id = 2"', {"events"}),
        ('A = "WITH a AS (UPDATE bookings b SET x = 1) DELETE FROM payments p USING a"', {"bookings", "payments"}),
        ('A = f"""UPDATE\n    refunds SET {change}"""', {"refunds"}),
        ('A = f"INSERT INTO {table} VALUES (1)"', {"?"}),
        ('A = "SELECT 1 FROM events FOR UPDATE OF events SKIP LOCKED"', set()),
        ("session.execute(update(EventRow).values(booked=1))", {"events"}),
        ("session.execute(insert(EventRow.__table__))", {"events"}),
        ('T = cast("Table", BookingRow.__table__)\nsession.execute(delete(T))', {"bookings"}),
        ("session.add(ReviewRow(rating=5))", {"reviews"}),
        ("session.execute(update(unknown))", {"?"}),
        ('"""UPDATE events SET nothing in a docstring."""', set()),
    ],
)
def test_writes_are_detected(source: str, tables_written: set[str]) -> None:
    assert written(ast.parse(source)) == tables_written


def test_write_to_the_table_of_another_context_is_detected() -> None:
    intruder = ast.parse("A = \"UPDATE bookings SET payment_status = 'refunded'\"")
    assert violations([("postgres/payments/repository.py", intruder)]) == {
        ("postgres/payments/repository.py", "bookings")
    }
    assert violations([("postgres/bookings/repository.py", intruder)]) == set()
