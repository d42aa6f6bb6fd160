"""What a statement read, as its plan says after it ran."""

import json
from collections.abc import Iterator
from typing import Any


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
