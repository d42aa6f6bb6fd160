"""Calendar feeds: their secret addresses and their entries."""

from collections.abc import Sequence
from datetime import datetime

from domain.accounts import UserId
from domain.calendar_feed import EntryKind, FeedEntry, FeedRange
from infrastructure.postgres.calendars.identity import uid
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import unplanned

OPEN = """
WITH entitled AS (SELECT id FROM users WHERE id = $1 AND token_version = $4 AND is_active FOR NO KEY UPDATE)
INSERT INTO calendar_feeds (user_id, fingerprint, created_at) SELECT id, $2, $3 FROM entitled
ON CONFLICT (user_id) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = excluded.created_at
RETURNING true
"""
REVOKE = "DELETE FROM calendar_feeds WHERE user_id = :user_id"
FIND = """
SELECT f.user_id FROM calendar_feeds f JOIN users u ON u.id = f.user_id WHERE f.fingerprint = $1 AND u.is_active
"""


def _nearest(table: str, owner: str, which: str) -> str:
    """The rows of `table` whose column `owner` is the account, that end first after and last before the moment `$3`:
    `$4` of each, read by an index of `(owner, ends_at)`. Ties with the last one are included, so that the choice among
    them does not depend on the plan."""
    user, since, now = unplanned("$1::bigint"), unplanned("$2::timestamptz"), unplanned("$3::timestamptz")
    of_user = f"SELECT * FROM {table} WHERE {owner} = {user} AND {which}"  # noqa: S608 (composed of constants)
    first = f"FETCH FIRST {unplanned('$4::bigint')} ROWS WITH TIES"
    return f"""(
        ({of_user} AND ends_at > {now} ORDER BY ends_at {first})
        UNION ALL
        ({of_user} AND ends_at <= {now} AND ends_at > {since} ORDER BY ends_at DESC {first})
    )"""


_EVENTS = _nearest("events", "facilitator_id", "status = 'active' AND hidden_at IS NULL")
_AS_CLIENT = _nearest("coaching_bookings", "client_id", "status <> 'cancelled'")
_AS_COACH = _nearest("coaching_bookings", "coach_id", "status <> 'cancelled' AND client_id <> coach_id")

_ENTRIES = f"""
SELECT '{EntryKind.PLACE}' AS kind, b.id::text AS id, e.title, e.description AS text,
       'Booking ' || b.reference || ', with ' || f.name AS reference, e.starts_at, e.ends_at, e.location,
       CASE WHEN b.payment_status NOT IN ('pending', 'failed') THEN e.virtual_link END AS link,
       b.hold_until IS NOT NULL AND b.payment_status IN ('pending', 'failed') AS is_tentative, e.version AS sequence,
       greatest(e.updated_at, b.created_at,
                (SELECT max(p.received_at) FROM payments p WHERE p.booking_id = b.id)) AS written_at,
       {uid("booking", "b.id")} AS uid
FROM bookings b JOIN events e ON e.id = b.event_id JOIN users f ON f.id = e.facilitator_id
WHERE b.user_id = $1 AND b.status <> 'cancelled' AND e.ends_at > $2
UNION ALL
SELECT '{EntryKind.EVENT}', e.id::text, e.title, e.description, 'Your event', e.starts_at, e.ends_at, e.location,
       e.virtual_link, false, e.version, coalesce(e.updated_at, e.created_at), {uid("event", "e.id")}
FROM {_EVENTS} e
UNION ALL
SELECT '{EntryKind.SESSION}', s.id::text,
       'Coaching with ' || (SELECT name FROM users
                            WHERE id = CASE WHEN s.coach_id = $1 THEN s.client_id ELSE s.coach_id END),
       s.notes, 'Booking ' || s.id, s.starts_at, s.ends_at, NULL, s.meeting_link, s.status = 'pending', s.sequence,
       s.updated_at, {uid("coaching", "s.id")}
FROM (SELECT * FROM {_AS_CLIENT} c UNION ALL SELECT * FROM {_AS_COACH} c) s
"""  # noqa: S608 (composed of constants)
_CHOSEN = f"""
SELECT * FROM ({_ENTRIES}) AS entries
ORDER BY ends_at <= $3, abs(extract(epoch FROM ends_at - $3)), starts_at, kind, id LIMIT $4
"""  # noqa: S608 (composed of constants)
CHOSEN_IN_ORDER = f"SELECT * FROM ({_CHOSEN}) AS chosen ORDER BY starts_at, kind, id"  # noqa: S608
DIGEST = f"""
SELECT encode(sha256(coalesce(string_agg(sha256(convert_to(chosen::text, 'UTF8')), '' ORDER BY starts_at, kind, id),
                              '')), 'hex')
FROM ({_CHOSEN}) AS chosen
"""  # noqa: S608 (composed of constants)


class PostgresFeeds:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, user_id: UserId, token_version: int, fingerprint: bytes, now: datetime) -> bool:
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(OPEN, user_id, fingerprint, now, token_version))

    async def close(self, user_id: UserId) -> None:
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM calendar_feeds WHERE user_id = $1", user_id)

    async def find(self, fingerprint: bytes) -> UserId | None:
        async with self._database.connection() as connection:
            user_id = await connection.fetchval(FIND, fingerprint)
        return None if user_id is None else UserId(user_id)

    async def entries(self, user_id: UserId, wanted: FeedRange) -> Sequence[FeedEntry]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(CHOSEN_IN_ORDER, user_id, wanted.since, wanted.now, wanted.limit)
        return [FeedEntry(**{**row, "kind": EntryKind(row["kind"])}) for row in rows]

    async def digest(self, user_id: UserId, wanted: FeedRange) -> str:
        async with self._database.connection() as connection:
            digest: str = await connection.fetchval(DIGEST, user_id, wanted.since, wanted.now, wanted.limit)
        return digest
