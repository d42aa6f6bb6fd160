"""Pages of the appointments of a client or a coach: each read by an index from its position on, however long the list.

A page is chosen from an index alone, also with skipped entries, and what belongs to its appointments is joined
afterwards.
"""

from domain.appointments import AppointmentStatus
from infrastructure.postgres.pages import unplanned

_BEFORE = (
    unplanned("coalesce($3::timestamptz, 'infinity')")
    + ", "
    + unplanned("coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')")
)


def chosen(column: str, status: AppointmentStatus | None) -> str:
    """The ids of a page, latest session first. `column` is `client_id` or `coach_id`; its account has the UUID `$1`.
    `$2` is the number of skipped entries, `$3` and `$4` are the position (start and id)."""
    columns, before, which = ["starts_at", "id"], _BEFORE, _which(column)
    if status is not None:
        # Comparing rows and sorting by the status name the index with the status.
        columns, before = ["status", *columns], f"'{status.value}', {before}"
        which += f" AND status >= '{status.value}'"
    # The number of rows is also hidden from the planner, which expects few of an account and would sort them; the
    # second LIMIT tells it how many are joined.
    return f"""
        SELECT id FROM (
            SELECT id FROM coaching_bookings WHERE {which} AND ({", ".join(columns)}) < ({before})
            ORDER BY {", ".join(f"{each} DESC" for each in columns)}
            OFFSET {unplanned("$2::bigint")} LIMIT {unplanned(":rows")}
        ) AS page LIMIT :rows
    """  # noqa: S608 (composed of constants)


def total(column: str, status: AppointmentStatus | None) -> str:
    """The length of the whole list, counted in the index alone."""
    of_status = "" if status is None else f" AND status = '{status.value}'"
    return f"SELECT count(*) FROM coaching_bookings WHERE {_which(column)}{of_status}"  # noqa: S608


def _which(column: str) -> str:
    return f"{column} = (SELECT id FROM users WHERE uuid = $1)"  # noqa: S608 (composed of constants)
