"""What is stored about an account, for its export. docs/privacy.md lists the columns."""

import asyncio

from application.accounts.ports.accounts import Archive
from domain.accounts import UserId
from domain.errors import Unavailable
from domain.outbox import Destination
from infrastructure.postgres.engine import Database

PART = 500
"""Records of a part."""
SECONDS = 60
"""Limit of reading one export."""

SECTIONS = {
    "profile": """
SELECT u.id, u.uuid, u.email, u.name, u.phone, u.timezone, u.role, u.requested_role, u.is_active, u.is_verified,
       u.created_at, u.google_id, u.profile_picture, p.bio, p.specialization,
       (SELECT to_jsonb(c) - 'user_id' FROM coaches c WHERE c.user_id = u.id) AS coach,
       (SELECT created_at FROM calendar_feeds WHERE user_id = u.id) AS calendar_feed_created_at
FROM users u LEFT JOIN facilitator_profiles p ON p.user_id = u.id WHERE u.id = $1""",
    "sessions": """
SELECT id, started_at, last_used_at, network, user_agent, ended_at, end_reason
FROM logins WHERE user_id = $1 ORDER BY started_at, id""",
    "api_keys": """
SELECT id, name, scopes, created_at, last_used_at, expires_at, revoked_at, revoke_reason
FROM api_keys WHERE user_id = $1 ORDER BY id""",
    "second_factors": """
SELECT kind, name, created_at, last_used_at
FROM second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL ORDER BY created_at, id""",
    "bookings": """
SELECT b.id, b.reference, b.event_id, e.title AS event, e.starts_at, e.ends_at, b.status, b.payment_status,
       b.price::text AS price, b.currency, b.notes, b.created_at, b.hold_until, b.cancelled_at, b.cancel_reason,
       b.cancelled_by = $1 AS cancelled_by_you, b.refund_policy, b.dispute
FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.user_id = $1 ORDER BY b.id""",
    "appointments": """
SELECT id, CASE client_id WHEN $1 THEN 'client' ELSE 'coach' END AS you_are, starts_at, ends_at, status,
       payment_status, price::text AS price, currency, notes, meeting_link, series_id, created_at, updated_at,
       hold_until, cancelled_at, cancel_reason, refund_policy, dispute
FROM coaching_bookings WHERE $1 IN (client_id, coach_id) ORDER BY starts_at, id""",
    "appointment_changes": """
SELECT h.booking_id AS appointment_id, h.change, h.changed_at, h.before, h.after
FROM coaching_changes h WHERE h.actor_id = $1 ORDER BY h.id""",
    "invitations": """
SELECT i.id, i.event_id, i.name, i.email, i.status, i.created_at, i.expires_at, i.answered_at
FROM invitations i JOIN users u ON u.email = i.email WHERE u.id = $1 ORDER BY i.id""",
    "payments": """
SELECT p.id, b.reference AS booking, p.coaching_booking_id AS appointment_id, p.gateway, p.gateway_payment_id,
       p.amount::text AS amount, p.currency, p.status, p.created_at, p.received_at, p.dispute,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('amount', r.amount::text, 'currency', r.currency,
            'reason', r.reason, 'status', r.status, 'requested_at', r.requested_at, 'settled_at', r.settled_at)
            ORDER BY r.requested_at), '[]')
        FROM refunds r WHERE r.payment_id = p.id) AS refunds
FROM payments p LEFT JOIN bookings b ON b.id = p.booking_id
    LEFT JOIN coaching_bookings c ON c.id = p.coaching_booking_id
WHERE $1 IN (b.user_id, c.client_id) ORDER BY p.id""",
    "events": """
SELECT id, title, description, event_type, category, starts_at, ends_at, location, virtual_link, capacity,
       price::text AS price, currency, status, refund_policy, created_at, updated_at, hidden_at AS deleted_at
FROM events WHERE facilitator_id = $1 ORDER BY id""",
    "reviews": "SELECT id, event_id, rating, comment, created_at FROM reviews WHERE user_id = $1 ORDER BY id",
    "reminders": """
SELECT b.reference AS booking, r.coaching_booking_id AS appointment_id, r.due_at, r.status, r.reason
FROM reminders r LEFT JOIN bookings b ON b.id = r.booking_id WHERE r.user_id = $1 ORDER BY r.due_at, r.id""",
    # Its own mails: each ordering key is that of a booking, an appointment's side, an invitation or the account.
    "messages": f"""
WITH own (ordering_key) AS (
    SELECT 'user:' || $1::bigint
    UNION ALL SELECT 'booking:' || id FROM bookings WHERE user_id = $1
    UNION ALL SELECT 'coaching:' || id || ':client' FROM coaching_bookings WHERE client_id = $1
    UNION ALL SELECT 'coaching:' || id || ':coach' FROM coaching_bookings WHERE coach_id = $1
    UNION SELECT 'coaching_series:' || series_id || ':client' FROM coaching_bookings WHERE client_id = $1
    UNION SELECT 'coaching_series:' || series_id || ':coach' FROM coaching_bookings WHERE coach_id = $1
    UNION ALL SELECT 'invitation:' || i.id FROM invitations i JOIN users u ON u.email = i.email WHERE u.id = $1
)
SELECT m.id, m.fact AS type, own.ordering_key AS about, m.occurred_at, m.status, m.settled_at,
       m.snapshot -> 'written' AS written_by_facilitator
FROM outbox m JOIN own ON own.ordering_key = m.lane
WHERE m.destination = '{Destination.EMAIL}' ORDER BY m.seq""",  # noqa: S608 (composed of constants)
    "calendars": """
SELECT c.provider, c.status, c.connected_at, c.busy_read_at,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('appointment_id', e.booking_id, 'entry_id', e.entry_id,
            'starts_at', e.starts_at, 'ends_at', e.ends_at) ORDER BY e.starts_at), '[]')
        FROM calendar_entries e WHERE e.connection_id = c.id) AS entries
FROM calendar_connections c WHERE c.user_id = $1 ORDER BY c.provider""",
    "files": """
SELECT id, booking_id AS appointment_id, filename, media_type, length(content) AS size, created_at
FROM coaching_attachments WHERE uploaded_by = $1 ORDER BY id""",
    "audit": """
SELECT at, action, object_kind, object_id, before, after FROM audit_log
WHERE actor_kind IN ('account', 'admin') AND actor_id = $1::bigint::text
   OR object_kind = 'account' AND object_id = $1::bigint::text
ORDER BY id""",
}
"""SQL of each section for the account $1."""

_FILE_IDS = "SELECT id FROM coaching_attachments WHERE uploaded_by = $1 ORDER BY id"
_FILE = "SELECT filename, content FROM coaching_attachments WHERE id = $1"


class PostgresPersonalData:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._one_at_a_time = asyncio.Lock()

    async def export(self, user_id: UserId, archive: Archive) -> None:
        """Raises `Unavailable` also while this process makes another export."""
        if self._one_at_a_time.locked():
            raise Unavailable
        async with self._one_at_a_time, self._database.snapshot(SECONDS) as connection:
            # The mails of an account have no index, and its other lists can be long.
            await connection.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'; SET LOCAL enable_seqscan = on")
            for section, statement in SECTIONS.items():
                cursor = await connection.cursor(f"SELECT to_json(r)::text FROM ({statement}) r", user_id)  # noqa: S608 (composed of constants)
                while True:
                    rows = await cursor.fetch(PART)
                    await archive.add_records(section, [row[0] for row in rows])
                    if len(rows) < PART:
                        break
            for file_id in [row["id"] for row in await connection.fetch(_FILE_IDS, user_id)]:
                for file in await connection.fetch(_FILE, file_id):
                    await archive.add_file(f"{file_id}-{file['filename']}", file["content"])
