"""Pages of events in the order of their start, each read by an index from its position on, however many events exist.

A page is chosen from `events` alone, and what belongs to its events is joined afterwards: so no plan starts from
another table. Comparisons of rows name an index, because for `facilitator_id = … ORDER BY starts_at` the planner may
read the events of all facilitators in their order.
"""

from datetime import datetime

from application.events.ports import EventFilter
from infrastructure.postgres.events.search import Search
from infrastructure.postgres.pages import unplanned

FIRST_VALUE = 4
"""`$1` is the viewer, `$2` and `$3` are the position (start and id)."""

_ID = unplanned("coalesce($3::bigint, 0)")
_AFTER = unplanned("coalesce($2::timestamptz, '-infinity')") + f", {_ID}"
_BEFORE = unplanned("coalesce($2::timestamptz, 'infinity')") + f", {_ID}"

# `coalesce`: by the index of `ends_at` all events ahead would be read for a page. What is completed has ended.
_ENDS_LATER = "e.status = 'active' AND e.completed_at IS NULL AND coalesce(e.ends_at > {}, false)"
_IN_STATE = {True: "e.status = 'active'", False: "e.status = 'cancelled'"}
_OF_ACTIVE = "(SELECT f.is_active FROM users f WHERE f.id = e.facilitator_id)"
_RATED = """(SELECT p.rating_sum >= {} * nullif(p.rating_count, 0) FROM facilitator_profiles p
             WHERE p.user_id = e.facilitator_id)"""
_TYPE, _CATEGORY = "lower(e.event_type)", "lower(e.category)"

LATEST_OF_FACILITATOR = f"""(
    SELECT * FROM events e
    WHERE (e.facilitator_id, e.starts_at, e.id) < ($1, {_BEFORE})
      AND (e.facilitator_id, e.starts_at, e.id) >= ($1, '-infinity', 0) AND e.hidden_at IS NULL
    ORDER BY e.facilitator_id DESC, e.starts_at DESC, e.id DESC LIMIT :rows
)"""  # noqa: S608 (composed of constants)
"""A page of the events of the facilitator `$1`, latest start first."""


def first_events(filters: EventFilter, search: Search, now: datetime) -> tuple[str, list[object]]:
    """A page of the events that `filters` and `search` select, and the values of its parameters from `FIRST_VALUE`
    on."""
    values = list(search.values)

    def parameter(value: object, kind: str) -> str:
        values.append(value)
        return f"${FIRST_VALUE - 1 + len(values)}::{kind}"

    conditions = ["e.hidden_at IS NULL", _OF_ACTIVE, search.condition]
    conditions.append(
        _ENDS_LATER.format(unplanned(parameter(now, "timestamptz")))
        if filters.active is None
        else _IN_STATE[filters.active]
    )
    if filters.least_rating is not None:
        conditions.append(_RATED.format(parameter(filters.least_rating, "numeric")))
    owner = None if filters.facilitator_id is None else parameter(filters.facilitator_id, "bigint")
    kind = None if filters.kind is None else f"lower({parameter(filters.kind, 'text')})"
    if search.values or owner is not None:
        if kind is not None:
            conditions.append(f"({_TYPE} = {kind} OR {_CATEGORY} = {kind})")
        if owner is None:
            return _page(conditions), values
        if search.values:
            return _page([*conditions, f"e.facilitator_id = {owner}"]), values
        return _page(conditions, "e.facilitator_id", owner), values
    if kind is None:
        return _page(conditions), values
    # Type and category have an index each, which an OR would not use.
    pages = [
        _page(conditions, _TYPE, kind),
        _page([*conditions, f"{_TYPE} <> {kind}"], _CATEGORY, kind),
    ]
    return f"({' UNION ALL '.join(pages)})", values


def _page(conditions: list[str], column: str | None = None, value: str = "") -> str:
    """The first events after the position. With a column those that have `value` there, by its index."""
    columns, after = "e.starts_at, e.id", _AFTER
    if column is not None:
        columns, after = f"{column}, {columns}", f"{value}, {after}"
        conditions = [*conditions, f"({columns}) <= ({value}, 'infinity', 9223372036854775807)"]
    where = " AND ".join([f"({columns}) > ({after})", *conditions])
    return f"(SELECT * FROM events e WHERE {where} ORDER BY {columns} LIMIT :rows)"  # noqa: S608 (composed of constants)
