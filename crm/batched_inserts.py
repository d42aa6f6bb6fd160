"""Inserts of concurrent requests: one statement and one commit for many rows.

The first insert begins at once. The rows that come while it is under way are the next one, so nothing is delayed by a
timer (docs/decisions/0014 has the reasons). A request that is answered has its row committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg

from crm.database import Database, DatabaseUnavailable
from servicekit.batches import Batches

MOST = 64
"""Rows of a statement."""

Row = tuple[Any, ...]


def _one_row(columns: Mapping[str, str]) -> str:
    fields = (f"${number}::{kind} AS {name}" for number, (name, kind) in enumerate(columns.items(), start=1))
    return f"(SELECT {', '.join(fields)}, 1 AS place) AS given"


def _rows(columns: Mapping[str, str]) -> str:
    arrays = (f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), start=1))
    return f"unnest({', '.join(arrays)}) WITH ORDINALITY AS given ({', '.join(columns)}, place)"


class BatchedInserts:
    """`statement` makes the SQL from that of its rows: the relation `given`, with these columns (type by name) and the
    number `place` of each row, from 1. It returns the rows that it has inserted, each with its `place`.

    Calls raise `DatabaseUnavailable`, or what PostgreSQL raises for the row alone.
    """

    def __init__(self, database: Database, statement: Callable[[str], str], columns: Mapping[str, str]) -> None:
        self._database = database
        # With arrays a row alone takes 0.55 instead of 0.22 ms in PostgreSQL.
        self._insert_one = statement(_one_row(columns))
        self._insert_many = statement(_rows(columns))
        self._inserts = Batches(self._insert_all, unavailable=DatabaseUnavailable, most=MOST)

    async def __call__(self, row: Row) -> asyncpg.Record | None:
        """What the statement returns for the row; None if it was not inserted, because another row has its key."""
        return await self._inserts(row)

    async def _insert_all(self, rows: Sequence[Row]) -> Sequence[asyncpg.Record | None]:
        async with self._database.connection() as connection:
            if len(rows) == 1:
                return [await connection.fetchrow(self._insert_one, *rows[0])]
            inserted = await connection.fetch(self._insert_many, *map(list, zip(*rows, strict=True)))
        by_place = {record["place"]: record for record in inserted}
        return [by_place.get(place) for place in range(1, len(rows) + 1)]
