"""Pages of events in the order of their start, each read by an index from its position on, however many events exist.

A page is chosen from `events` alone, and what belongs to its events is joined afterwards: so no plan starts from
another table. Comparisons of rows name an index, because for `facilitator_id = … ORDER BY starts_at` the planner may
read the events of all facilitators in their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from application.events.ports import EventFilter
from infrastructure.postgres.events.search import Parameters, Search
from infrastructure.postgres.pages import unplanned

FIRST_VALUE = 4
"""`$1` is the viewer, `$2` and `$3` are the position (start and id)."""

_ID = unplanned("coalesce($3::bigint, 0)")
_AFTER = unplanned("coalesce($2::timestamptz, '-infinity')") + f", {_ID}"
_BEFORE = unplanned("coalesce($2::timestamptz, 'infinity')") + f", {_ID}"

# `coalesce`: by the index of `ends_at` all events ahead would be read for a page. What is completed has ended.
_ENDS_LATER = "coalesce(e.ends_at > {}, false)"
_IN_STATE = {
    None: "e.status = 'active' AND e.completed_at IS NULL",
    True: "e.status = 'active'",
    False: "e.status = 'cancelled'",
}
_OF_ACTIVE = "(SELECT f.is_active FROM users f WHERE f.id = e.facilitator_id)"
_RATED = """(SELECT p.rating_sum >= {} * nullif(p.rating_count, 0) FROM facilitator_profiles p
             WHERE p.user_id = e.facilitator_id)"""
_TYPE, _CATEGORY = "lower(e.event_type)", "lower(e.category)"

_VIEWER = unplanned("$1::bigint")
LATEST_OF_FACILITATOR = f"""(
    SELECT * FROM events e
    WHERE (e.facilitator_id, e.starts_at, e.id) < ({_VIEWER}, {_BEFORE})
      AND (e.facilitator_id, e.starts_at, e.id) >= ({_VIEWER}, '-infinity', 0) AND e.hidden_at IS NULL
    ORDER BY e.facilitator_id DESC, e.starts_at DESC, e.id DESC LIMIT :rows
)"""  # noqa: S608 (composed of constants)
"""A page of the events of the facilitator `$1`, latest start first."""


@dataclass(frozen=True, slots=True)
class _Filters:
    """Conditions on `events e`. An index has the events of a state; `owner` and `kind` are parameters."""

    state: Sequence[str]
    others: Sequence[str]
    owner: str | None
    kind: str | None

    @classmethod
    def of(cls, filters: EventFilter, now: datetime, parameters: Parameters) -> "_Filters":
        others = [_OF_ACTIVE]
        if filters.active is None:
            others.append(_ENDS_LATER.format(unplanned(parameters.add(now, "timestamptz"))))
        if filters.least_rating is not None:
            others.append(_RATED.format(parameters.add(filters.least_rating, "numeric")))
        others += [condition.format(parameters.add(value, kind)) for condition, value, kind in _bounds(filters)]
        owner = None if filters.facilitator_id is None else parameters.add(filters.facilitator_id, "bigint")
        kind = None if filters.kind is None else f"lower({parameters.add(filters.kind, 'text')})"
        return cls(["e.hidden_at IS NULL", _IN_STATE[filters.active]], others, owner, kind)

    @property
    def of_kind(self) -> Sequence[str]:
        return [] if self.kind is None else [f"({_TYPE} = {self.kind} OR {_CATEGORY} = {self.kind})"]


def _bounds(filters: EventFilter) -> list[tuple[str, object, str]]:
    """Conditions with their value and its type."""
    bounds: list[tuple[str, object, str]] = [
        ("e.starts_at >= {}", filters.starts_from, "timestamptz"),
        ("e.starts_at < {}", filters.starts_before, "timestamptz"),
        ("CASE WHEN {} THEN e.virtual_link IS NOT NULL ELSE e.location <> '' END", filters.online, "boolean"),
        ("e.price <= {}", filters.highest_price, "numeric"),
    ]
    return [bound for bound in bounds if bound[1] is not None]


Chosen = tuple[str, Sequence[object]]
"""A page of events without what belongs to them, and the values of its parameters from `FIRST_VALUE` on."""


def first_events(filters: EventFilter, now: datetime) -> Chosen:
    """Of all that `filters` select without their text."""
    parameters = Parameters(FIRST_VALUE)
    chosen = _Filters.of(filters, now, parameters)
    conditions = [*chosen.state, *chosen.others]
    if chosen.owner is not None:
        return _page([*conditions, *chosen.of_kind], ("e.facilitator_id", chosen.owner)), parameters.values
    if chosen.kind is None:
        return _page(conditions), parameters.values
    # Type and category have an index each, which an OR would not use.
    pages = [
        _page(conditions, (_TYPE, chosen.kind)),
        _page([*conditions, f"{_TYPE} <> {chosen.kind}"], (_CATEGORY, chosen.kind)),
    ]
    return f"({' UNION ALL '.join(pages)})", parameters.values


def events_among(filters: EventFilter, search: Search, now: datetime, number: int) -> Chosen:
    """Of the matching ones among the next `number` events of the state."""
    parameters = Parameters(FIRST_VALUE)
    chosen = _Filters.of(filters, now, parameters)
    of = None if chosen.owner is None else ("e.facilitator_id", chosen.owner)
    where = _all(*search.compared(parameters), *chosen.of_kind, *chosen.others)
    page = _page(chosen.state, of, rows=unplanned(parameters.add(number, "bigint")))
    return f"(SELECT * FROM {page} e WHERE {where} ORDER BY {_sorted_by(of)} LIMIT :rows)", parameters.values  # noqa: S608


def events_found(filters: EventFilter, search: Search, now: datetime) -> Chosen:
    """Of all matching ones, which an index finds. Materialised, because the planner does not know that they are few,
    and might read all events in their order."""
    parameters = Parameters(FIRST_VALUE)
    chosen = _Filters.of(filters, now, parameters)
    owner = [] if chosen.owner is None else [f"e.facilitator_id = {chosen.owner}"]
    has_words, is_of, others = search.indexed(parameters)
    # `coalesce`: not by an index with all events of the state besides.
    found = _all(has_words, *(f"coalesce({each}, false)" for each in chosen.state), *owner)
    if is_of is not None:
        ids = (f"SELECT e.id FROM events e WHERE {each}" for each in (found, _all(is_of, *chosen.state, *owner)))  # noqa: S608
        found = f"e.id IN ({' UNION '.join(ids)})"
    where = _all(found, f"(e.starts_at, e.id) > ({_AFTER})", *others, *chosen.of_kind, *chosen.others)
    found = f"WITH found AS MATERIALIZED (SELECT * FROM events e WHERE {where})"  # noqa: S608 (composed of constants)
    return f"({found} TABLE found ORDER BY starts_at, id LIMIT :rows)", parameters.values


_Of = tuple[str, str] | None
"""A column and the value that it must have."""


def _page(conditions: Sequence[str], of: _Of = None, *, rows: str = ":rows") -> str:
    """The first events after the position; `of`: by the index of that column."""
    columns, after = _sorted_by(of), _AFTER
    if of is not None:
        _, value = of
        after = f"{value}, {after}"
        conditions = [*conditions, f"({columns}) <= ({value}, 'infinity', 9223372036854775807)"]
    where = _all(f"({columns}) > ({after})", *conditions)
    return f"(SELECT * FROM events e WHERE {where} ORDER BY {columns} LIMIT {rows})"  # noqa: S608 (composed of constants)


def _sorted_by(of: _Of) -> str:
    return "e.starts_at, e.id" if of is None else f"{of[0]}, e.starts_at, e.id"


def _all(*conditions: str) -> str:
    return " AND ".join(conditions)
