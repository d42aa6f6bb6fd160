"""No SQL of the services leaves anything in a session of PostgreSQL: a transaction pooler gives the session to the next
client."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SESSION_STATE = re.compile(
    r"""\b(?:
        (?:UN)?LISTEN\s+(?:\w+|\*)["';] | NOTIFY\s+\w+ | pg_notify\( | pg_(?:try_)?advisory_(?:lock|unlock)
        | (?:TEMP|TEMPORARY)\s+TABLE | currval\( | lastval\( | WITH\s+HOLD
        | DISCARD\s+ALL | DEALLOCATE\s | PREPARE\s+\w+\s+AS | SET\s+(?:SESSION|search_path|ROLE|\w+_timeout)
        | set_config\([^)]*\bfalse
    )""",
    re.VERBOSE,
)


def sources() -> list[Path]:
    """All modules but the revisions of the schema, which use connections of their own."""
    found = [*(ROOT / "src").rglob("*.py"), *(ROOT / "crm").rglob("*.py")]
    return [path for path in found if "migrations" not in path.parts]


def test_no_statement_uses_state_of_its_session() -> None:
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in sources()
        if (match := SESSION_STATE.search(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "statement",
    [
        '"LISTEN messages"',
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock(1)",
        "CREATE TEMP TABLE found AS SELECT 1",
        "SELECT currval('events_id_seq')",
        "SET lock_timeout = '1s'",
        "SELECT set_config('lock_timeout', '1s', false)",
        "DECLARE rows CURSOR WITH HOLD FOR SELECT 1",
        "PREPARE found AS SELECT 1",
    ],
)
def test_statement_with_state_is_found(statement: str) -> None:
    assert SESSION_STATE.search(statement)


@pytest.mark.parametrize(
    "statement", ["SELECT pg_advisory_xact_lock(1)", "SET LOCAL lock_timeout = '1s'", "UPDATE users SET role = 'user'"]
)
def test_statement_without_state_is_not_found(statement: str) -> None:
    assert not SESSION_STATE.search(statement)
