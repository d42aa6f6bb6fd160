"""A prepared statement's plan is kept as long as its connection, so it must not depend on how small a table was."""

import pytest

from infrastructure.postgres.bookings.seats import RESERVE, RESERVE_UNDER_KEY
from infrastructure.postgres.engine import Database

_PLAIN = "bigint, bigint, text, timestamptz, text, text, interval, int"
_GIVEN = "1, 2, NULL, now(), 'request', 'offline', NULL, 5"


@pytest.mark.parametrize(
    ("statement", "types", "given"),
    [
        (RESERVE, _PLAIN, _GIVEN),
        (RESERVE_UNDER_KEY, f"{_PLAIN}, text, text, uuid", f"{_GIVEN}, 'user:2', 'key', uuidv7()"),
    ],
    ids=["plain", "under a key"],
)
async def test_seat_is_found_by_indexes_when_planned_on_empty_tables(
    database_url: str, statement: str, types: str, given: str
) -> None:
    database = Database(database_url)
    try:
        async with database.connection() as connection:
            # With statistics that say "empty", reading the whole table looks like the cheapest plan there is.
            await connection.execute("ANALYZE")
            await connection.execute("SET plan_cache_mode = force_generic_plan")
            await connection.execute(f"PREPARE take ({types}) AS {statement}")
            details = await connection.fetch(f"EXPLAIN EXECUTE take ({given})")
    finally:
        await database.close()

    lines = [row[0] for row in details]
    assert any("uq_bookings_one_live_place" in line for line in lines)
    assert not any("Seq Scan" in line for line in lines), "\n".join(lines)
