"""Revisions run while services work: the SQL of each new one is compared with the rules of tests/support."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from alembic.script import Script

from crm import migrations as crm
from infrastructure.postgres import migrations as booking_api
from servicekit.migrations import Migrations, online
from tests.support.migration_rules import Transaction, faults, faults_of, rendered

ROOT = Path(__file__).parents[2]
NEEDING_A_PAUSE = ((booking_api.MIGRATIONS, "0010"), (crm.MIGRATIONS, "0002"))
"""Up to these, revisions change rows and hold locks. docs/operations/upgrade.md says so."""


def revisions(migrations: Migrations, after: str) -> list[Script]:
    return [script for script in migrations.scripts().walk_revisions() if script.revision > after]


RULED = [script for migrations, last in NEEDING_A_PAUSE for script in revisions(migrations, last)]


@pytest.mark.parametrize("script", RULED, ids=lambda script: str(Path(script.path).relative_to(ROOT)))
def test_revision_lets_others_read_and_write(script: Script) -> None:
    assert faults_of(script.module) == []


def test_old_revisions_break_the_rules() -> None:
    """So the rules notice what those did; 0007 changes rows while nobody else can use them."""
    old = {script.revision: script for script in revisions(booking_api.MIGRATIONS, "0000") if script.revision <= "0010"}
    assert any("rows are changed" in fault for fault in faults_of(old["0007"].module))
    assert any("index without CONCURRENTLY" in fault for fault in faults_of(old["0003"].module))
    assert any("constraint without NOT VALID" in fault for fault in faults_of(old["0004"].module))


GOOD = [
    "CREATE TABLE IF NOT EXISTS t (id bigint, CHECK (id > 0), other text UNIQUE)",
    "CREATE TABLE t (id bigint REFERENCES users)",
    "ALTER TABLE bookings ADD COLUMN IF NOT EXISTS a text, ADD COLUMN b integer NOT NULL DEFAULT 0",
    "ALTER TABLE bookings ADD COLUMN IF NOT EXISTS c jsonb NOT NULL DEFAULT '[]'",
    "ALTER TABLE bookings DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c CHECK (a IN ('x, TYPE', 'y')) NOT VALID",
    "ALTER TABLE bookings ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES users (id) NOT VALID",
    "ALTER TABLE bookings ALTER a DROP NOT NULL, ALTER COLUMN b SET DEFAULT 'x'",
    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON bookings (a)",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ UPDATE bookings SET a = 1 RETURNING 1 $$",
    "INSERT INTO calendar_identity (uid_domain) SELECT 'x' WHERE NOT EXISTS (SELECT FROM events)",
]


@pytest.mark.parametrize("statement", GOOD)
def test_rules_accept(statement: str) -> None:
    assert faults([Transaction([statement], last=True)]) == []


BAD = [
    ("index without CONCURRENTLY", ["CREATE INDEX IF NOT EXISTS i ON bookings (price)"]),
    ("CONCURRENTLY within a transaction", ["COMMENT ON TABLE t IS ''", "CREATE INDEX CONCURRENTLY i ON bookings (a)"]),
    ("DROP INDEX without CONCURRENTLY", ["DROP INDEX i"]),
    ("constraint without NOT VALID", ["ALTER TABLE bookings ADD CONSTRAINT c CHECK (price > 0)"]),
    ("constraint without NOT VALID", ["ALTER TABLE bookings ADD FOREIGN KEY (a) REFERENCES users"]),
    ("constraint without NOT VALID", ["ALTER TABLE bookings ADD UNIQUE (a)"]),
    ("VALIDATE within another transaction", ["ALTER TABLE b ADD a int", "ALTER TABLE b VALIDATE CONSTRAINT c"]),
    ("new column with a constraint", ["ALTER TABLE users ADD requested_role text CHECK (requested_role = 'x')"]),
    ("the table is rewritten", ["ALTER TABLE bookings ALTER COLUMN id TYPE numeric"]),
    ("the table is rewritten", ["ALTER TABLE bookings ALTER id SET DATA TYPE numeric"]),
    ("the table is rewritten", ["ALTER TABLE bookings ADD a uuid DEFAULT uuidv7()"]),
    ("the table is rewritten", ["ALTER TABLE bookings ADD a text GENERATED ALWAYS AS (notes || '') STORED"]),
    ("NOT NULL without a default", ["ALTER TABLE bookings ADD COLUMN a text NOT NULL"]),
    ("NOT NULL without a validated check", ["ALTER TABLE bookings ALTER COLUMN notes SET NOT NULL"]),
    ("rows are changed", ["UPDATE events SET facilitator_active = false FROM users WHERE NOT is_active"]),
    ("rows are changed", ["DELETE FROM outbox"]),
    ("rows are changed", ["WITH gone AS (DELETE FROM outbox RETURNING 1) SELECT * FROM gone"]),
    ("rows are copied", ["INSERT INTO t (a) SELECT id FROM users"]),
    ("the rules do not know this statement", ["DO $$ BEGIN DELETE FROM outbox; END $$"]),
    ("the rules do not know this statement", ["LOCK TABLE bookings"]),
    ("the rules do not know this change", ["ALTER TABLE bookings CLUSTER ON i"]),
    ("one transaction locks BOOKINGS, EVENTS", ["ALTER TABLE events ADD a int", "ALTER TABLE bookings ADD a int"]),
    ("one transaction locks EVENTS, USERS", ["CREATE TABLE t (a int REFERENCES users, b int REFERENCES events)"]),
    ("the version before needs it", ["ALTER TABLE bookings DROP COLUMN notes"]),
    ("the version before needs it", ["ALTER TABLE bookings DROP notes"]),
    ("the version before needs it", ["ALTER TABLE bookings RENAME COLUMN notes TO remarks"]),
    ("the version before needs it", ["DROP TABLE reviews"]),
]


@pytest.mark.parametrize(
    ("fault", "statements"), BAD, ids=lambda value: value[-1][:50] if isinstance(value, list) else ""
)
def test_rules_refuse(fault: str, statements: Sequence[str]) -> None:
    found = faults([Transaction(list(statements), last=True)])
    assert [each for each in found if each.startswith(fault)], found


def test_statement_that_is_committed_before_the_others_can_be_run_again() -> None:
    once = Transaction(["ALTER TABLE bookings ADD COLUMN a text"])
    assert faults([once]) == [
        "cannot be run again after an interruption: ALTER TABLE BOOKINGS ADD COLUMN A TEXT",
    ]


def test_contracting_revision_names_the_oldest_code() -> None:
    assert faults([Transaction(["ALTER TABLE bookings DROP COLUMN notes"], last=True)], oldest_code="0022") == []


def test_validated_check_allows_not_null() -> None:
    steps = [
        "ALTER TABLE bookings DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c CHECK (notes IS NOT NULL) NOT VALID",
        "ALTER TABLE bookings VALIDATE CONSTRAINT c",
        "ALTER TABLE bookings ALTER COLUMN notes SET NOT NULL",
    ]
    assert faults([Transaction([step]) for step in steps]) == []


def test_each_step_is_committed_by_itself() -> None:
    def upgrade() -> None:
        online.add_constraint("bookings", "c", "CHECK (price > 0)")
        online.create_index("i", "bookings (price)")

    assert [transaction.statements for transaction in rendered(upgrade)] == [
        ["ALTER TABLE bookings DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c CHECK (price > 0) NOT VALID"],
        ["ALTER TABLE bookings VALIDATE CONSTRAINT c"],
        ["CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON bookings (price)"],
    ]
