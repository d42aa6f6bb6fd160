"""Read model of facilitators' events, built from the messages about them. A stored state is never replaced by an older
one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crm.database import Connection, Database
from crm.notifications import Moment, Notification

STATE: Mapping[str, str] = {
    "event_id": "bigint",
    "facilitator_id": "bigint",
    "event_title": "text",
    "event_date": "timestamptz",
    "bookings_count": "bigint",
    "max_participants": "bigint",
    "event_is_active": "boolean",
    "event_version": "bigint",
}
"""The state of an event in a message: the types of its columns by name, in the order of `event_state`."""


# An outdated message changes nothing, also if it waits here for the transaction of a newer one.
# Messages of the published documents have no version (stored as 0): of those the last received one counts.
def remember_events_of(source: str) -> str:
    """SQL that stores the states of events in the rows of `source`, which have the columns of `STATE` and the order
    `place`. The result is that of one row after the other. Events are locked by ascending id."""
    return f"""
INSERT INTO facilitator_events AS known
    (id, facilitator_id, title, starts_at, bookings_count, max_participants, is_active, version)
SELECT DISTINCT ON (event_id) {", ".join(STATE)}
FROM {source} WHERE event_id IS NOT NULL AND facilitator_id IS NOT NULL
ORDER BY event_id, event_version DESC, CASE WHEN event_version = 0 THEN place ELSE -place END DESC
ON CONFLICT (id) DO UPDATE SET
    facilitator_id = excluded.facilitator_id,
    title = excluded.title,
    starts_at = excluded.starts_at,
    bookings_count = excluded.bookings_count,
    max_participants = excluded.max_participants,
    is_active = excluded.is_active,
    version = excluded.version,
    told_at = now()
WHERE known.version < excluded.version OR (known.version = 0 AND excluded.version = 0)
"""  # noqa: S608 (composed of constants)


REMEMBER_EVENT = remember_events_of(
    f"(SELECT {', '.join(f'${n}::{kind} AS {name}' for n, (name, kind) in enumerate(STATE.items(), 1))}, 1 AS place) s"
)

# If no message has the number of reserved seats, the received bookings that are not cancelled are counted.
FACILITATOR_EVENTS = """
SELECT e.id, e.title, e.starts_at AS date_time, e.max_participants, e.is_active, coalesce(e.bookings_count, (
    SELECT count(*) FROM (
        SELECT DISTINCT ON (n.booking_id) n.action FROM notifications n
        WHERE n.event_id = e.id AND n.booking_id IS NOT NULL ORDER BY n.booking_id, n.id DESC
    ) latest WHERE latest.action IS DISTINCT FROM 'booking_cancelled'
)) AS bookings_count
FROM facilitator_events e
WHERE e.facilitator_id = $1 AND e.id > $2
ORDER BY e.id LIMIT $3
"""


class FacilitatorEvent(msgspec.Struct, frozen=True):
    """An event in contract A's format. Fields that no message has set are null."""

    id: int
    title: str | None
    date_time: Moment | None
    bookings_count: int
    max_participants: int | None
    is_active: bool


def event_state(notification: Notification) -> tuple[Any, ...]:
    """The values of `STATE`. Without an event and its facilitator nothing is stored."""
    event = notification.event
    return (
        notification.event_key,
        notification.facilitator_key,
        event.title,
        event.starts_at,
        event.current_participants,
        event.max_participants,
        notification.event_is_active,
        event.version or 0,
    )


async def remember_event(connection: Connection, notification: Notification, statement: str = REMEMBER_EVENT) -> None:
    """Updates the read model to the state in this message, unless it has a newer one."""
    await connection.execute(statement, *event_state(notification))


class FacilitatorEvents:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, facilitator_id: int, *, limit: int, after: int = 0) -> Sequence[FacilitatorEvent]:
        """The facilitator's events by id, from the one after `after`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(FACILITATOR_EVENTS, facilitator_id, after, limit)
        return [msgspec.convert(dict(row), FacilitatorEvent) for row in rows]
