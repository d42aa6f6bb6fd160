"""PostgreSQL 16, the oldest supported version: the schema, uuidv7() and the contracts."""

import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from servicekit.uuidv7 import ENSURE_UUIDV7
from tests.support.process_harness import LONG_RUN
from tests.support.servers import running_postgres

ROOT = Path(__file__).parents[2]
SUITES = [
    "tests/contracts/test_b_bookings.py::test_11_booking_returns_201_with_the_booking",
    "tests/contracts/test_b_bookings.py::test_11_concurrent_bookings_of_the_last_seat_succeed_once",
    "tests/integration/test_tables.py",
    "tests/crm/test_settings_and_schema.py",
]
if LONG_RUN:
    SUITES = ["tests/contracts", "tests/payments", "tests/crm", "tests/integration"]


async def test_generated_ids_are_uuids_of_version_7_in_order_of_time() -> None:
    with running_postgres("convene", version=16) as server:
        connection = await asyncpg.connect(server.dsn("convene"))
        await connection.execute(ENSURE_UUIDV7)
        await connection.execute(ENSURE_UUIDV7)
        before = await connection.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)")
        ids = [
            row["id"]
            for row in await connection.fetch(
                "SELECT uuidv7() AS id FROM generate_series(1, 3000), LATERAL (SELECT pg_sleep(0)) AS pause"
            )
        ]
        after = await connection.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)")
        await connection.close()
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert len(set(ids)) == len(ids)
    instants = [each.int >> 80 for each in ids]
    assert instants == sorted(instants)
    assert before <= instants[0] <= instants[-1] <= after


@pytest.mark.timeout(3600 if LONG_RUN else 300)
def test_schema_and_bookings_work_on_postgres_16() -> None:
    environment = {**os.environ, "TEST_POSTGRES_VERSION": "16"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
