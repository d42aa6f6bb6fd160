"""What a statement read, as its plan says after it ran."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from infrastructure.postgres.engine import Database


def nodes_of(explained: Any) -> list[dict[str, Any]]:
    """The nodes of a plan that EXPLAIN (FORMAT JSON) returned."""
    plan = json.loads(explained) if isinstance(explained, str) else explained
    return list(_nodes(plan[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


def rows_read(node: dict[str, Any]) -> float:
    """With those that a filter dropped."""
    dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node["Actual Rows"] + dropped) * node["Actual Loops"])


class Explains:
    """A mixin for a pool. Remembers what went through it, with its values."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)  # type: ignore[call-arg]
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with super().connection() as connection:  # type: ignore[misc]
            with connection.query_logger(lambda said: self.asked.append((said.query, said.args))):
                yield connection

    async def rows_read(self) -> float:
        """How many rows the plans of what was asked took from tables and indexes, those that a filter dropped
        included. A page is planned for any values: as a connection does that has asked often."""
        asked, self.asked = self.asked, []
        read = 0.0
        async with super().connection() as connection:  # type: ignore[misc]
            await connection.execute("SET plan_cache_mode = force_generic_plan")
            for query, values in asked:
                nodes = nodes_of(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *values))
                assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], json.dumps(nodes[0], indent=1)
                read += sum(rows_read(node) for node in nodes if "Index Name" in node)
        return read


class ExplainedDatabase(Explains, Database):
    """The pool of the booking API."""
