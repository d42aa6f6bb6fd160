"""Inserts of concurrent requests: one statement and one commit for many rows.

The first insert begins at once. The rows that come while it is under way are the next one, so nothing is delayed by a
timer (docs/decisions/0014 has the reasons). A request that is answered has its row committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from crm.database import Database, DatabaseUnavailable
from servicekit.batches import Batches

MOST = 64
"""Rows of a statement."""

Row = tuple[Any, ...]


def rows_of(columns: Mapping[str, str]) -> str:
    """SQL: the rows of a batch as the relation `given`, with these columns (type by name) and the number `place` of
    each row, from 1. The columns are the parameters of the statement: an array each, in this order."""
    arrays = (f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), start=1))
    return f"unnest({', '.join(arrays)}) WITH ORDINALITY AS given ({', '.join(columns)}, place)"


class BatchedInserts:
    """`statement` inserts `rows_of` its columns, and returns those that it has inserted, each with its `place`.

    Calls raise `DatabaseUnavailable`, or what PostgreSQL raises for the row alone.
    """

    def __init__(self, database: Database, statement: str) -> None:
        self._database = database
        self._statement = statement
        self._inserts = Batches(self._insert_all, unavailable=DatabaseUnavailable, most=MOST)

    async def __call__(self, row: Row) -> asyncpg.Record | None:
        """What the statement returns for the row; None if it was not inserted, because another row has its key."""
        return await self._inserts(row)

    async def _insert_all(self, rows: Sequence[Row]) -> Sequence[asyncpg.Record | None]:
        async with self._database.connection() as connection:
            inserted = await connection.fetch(self._statement, *map(list, zip(*rows, strict=True)))
        by_place = {record["place"]: record for record in inserted}
        return [by_place.get(place) for place in range(1, len(rows) + 1)]
