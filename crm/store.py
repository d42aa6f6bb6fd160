"""The notifications table: what was received, and where each facilitator's mail is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from crm.database import Connection, Database
from crm.notifications import InvalidFields, MailStatus, Notification

# No conflict target: the identity cannot collide, so the only conflict there is, is the message's id.
INSERT = """
INSERT INTO notifications (message_id, body, action, booking_id, user_name, user_email, event_title, event_date,
    facilitator_id, recipient_name, recipient_email, status, response, attempts, next_attempt_at, lease)
VALUES ($1, $2::jsonb, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, now() + $15::interval, $16)
ON CONFLICT DO NOTHING
RETURNING id, mail_id, received_at
"""

# Reading first keeps the row unlocked in the common case; ON CONFLICT DO UPDATE would lock it for nothing.
REMEMBER_FACILITATOR = """
INSERT INTO facilitators AS known (id, name, email, told_at)
SELECT $1::bigint, $2::text, $3::text, least(coalesce($4::timestamptz, now()), now())
WHERE NOT EXISTS (
    SELECT FROM facilitators f WHERE f.id = $1 AND f.name IS NOT DISTINCT FROM $2 AND f.email = $3
)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, told_at = excluded.told_at
WHERE known.told_at <= excluded.told_at
"""

CLAIMED = "n.id, n.mail_id, n.body, n.received_at, n.recipient_name, n.recipient_email, n.attempts"

CLAIM_DUE = f"""
WITH due AS MATERIALIZED (
    SELECT id FROM notifications
    WHERE status = 'pending' AND next_attempt_at <= now()
    ORDER BY next_attempt_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE notifications n
SET lease = $2, next_attempt_at = now() + $3::interval, attempts = attempts + 1
FROM due WHERE n.id = due.id
RETURNING {CLAIMED}
"""  # noqa: S608

CLAIM_ONE = f"""
UPDATE notifications n
SET lease = $2, next_attempt_at = now() + $3::interval, attempts = attempts + 1
WHERE n.id = $1 AND status = 'pending' AND next_attempt_at <= now()
RETURNING {CLAIMED}
"""  # noqa: S608

ITEM = """id, message_id, action, booking_id, user_name, user_email, event_title, event_date, facilitator_id,
    received_at, processed, status, sent_at, response"""

MAIL_STATE = """
SELECT status, lease IS NOT NULL AND next_attempt_at > now() AS leased FROM notifications WHERE id = $1
"""

RELEASE_CLAIMS = """
UPDATE notifications SET lease = NULL, next_attempt_at = now() WHERE lease = $1 AND status = 'pending'
"""


class Claim(msgspec.Struct, frozen=True):
    """A mail that is ours to send until the lease ends. `attempts` counts this one."""

    id: int
    mail_id: UUID
    notification: Notification
    received_at: datetime
    recipient_name: str | None
    recipient_email: str
    attempts: int


class Recorded(msgspec.Struct, frozen=True):
    """A notification that is stored, by this call or by an earlier one with the same message id."""

    id: int
    status: MailStatus
    claim: Claim | None = None


class Item(msgspec.Struct, frozen=True):
    """A notification as both API documents list it."""

    id: int
    message_id: str | None
    action: str | None
    booking_id: int | None
    user_name: str | None
    user_email: str | None
    event_title: str | None
    event_date: datetime | None
    facilitator_id: int | None
    received_at: datetime
    processed: bool
    status: MailStatus
    sent_at: datetime | None
    response: str | None


class MessageIdReused(Exception):
    """The message id is known with another body."""


class NotificationStore:
    """Every statement about notifications. `lease` is this process's name in the rows it has claimed."""

    def __init__(self, database: Database, lease: UUID, lease_time: timedelta) -> None:
        self._database = database
        self._lease = lease
        self._lease_time = lease_time

    async def record(
        self, notification: Notification, body: str, message_id: str | None, *, claim: bool = True
    ) -> Recorded:
        """Store a message once, and claim its mail when `claim`; raises MessageIdReused, InvalidFields.

        A second call with the same `message_id`, at the same moment or later, finds the row of the first.
        """
        async with self._database.connection() as connection:
            while True:
                async with connection.transaction():
                    recorded = await self._insert(connection, notification, body, message_id, claim=claim)
                if recorded is not None:
                    return recorded
                # READ COMMITTED: the insert waited for the winner, so a new statement sees its row.
                first = await connection.fetchrow(
                    "SELECT id, status, body = $2::jsonb AS same FROM notifications WHERE message_id = $1",
                    message_id,
                    body,
                )
                if first is None:
                    continue
                if not first["same"]:
                    raise MessageIdReused
                return Recorded(first["id"], MailStatus(first["status"]))

    async def _insert(
        self, connection: Connection, notification: Notification, body: str, message_id: str | None, *, claim: bool
    ) -> Recorded | None:
        name, email = await self._recipient(connection, notification)
        status, response = _mail_owed(notification, email)
        pending = status is MailStatus.PENDING
        leased = pending and claim
        user, event = notification.user, notification.event
        values = (
            message_id,
            body,
            notification.action,
            notification.booking_id,
            user.name if user else None,
            user.email if user else None,
            event.title,
            event.starts_at,
            notification.facilitator_key,
            name,
            email,
            status.value,
            response,
            int(leased),
            (self._lease_time if leased else timedelta()) if pending else None,
            self._lease if leased else None,
        )
        try:
            row = await connection.fetchrow(INSERT, *values)
        except asyncpg.DataError:  # jsonb holds fewer numbers than JSON can write: 1e-99999
            raise InvalidFields({"body": "A number is out of range"}) from None
        if row is None:
            return None
        await self._remember_facilitator(connection, notification)
        if not leased or email is None:
            return Recorded(row["id"], status)
        return Recorded(
            row["id"], status, Claim(row["id"], row["mail_id"], notification, row["received_at"], name, email, 1)
        )

    async def _recipient(self, connection: Connection, notification: Notification) -> tuple[str | None, str | None]:
        told = notification.facilitator
        if told and told.email:
            return told.name, told.email
        known = await connection.fetchrow(
            "SELECT name, email FROM facilitators WHERE id = $1", notification.facilitator_key
        )
        return (known["name"], known["email"]) if known else (told.name if told else None, None)

    async def _remember_facilitator(self, connection: Connection, notification: Notification) -> None:
        told, key = notification.facilitator, notification.facilitator_key
        if told and told.email and key and told.id in (None, key):
            await connection.execute(REMEMBER_FACILITATOR, key, told.name, told.email, notification.happened_at)

    async def claim_due(self, limit: int) -> list[Claim]:
        """Take up to `limit` mails that are due, the longest due first; no two processes get the same one."""
        async with self._database.connection() as connection:
            return [_claim(row) for row in await connection.fetch(CLAIM_DUE, limit, self._lease, self._lease_time)]

    async def claim(self, notification_id: int) -> Claim | None:
        """Take this one mail if it is due, else None."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(CLAIM_ONE, notification_id, self._lease, self._lease_time)
        return _claim(row) if row else None

    async def mail_state(self, notification_id: int) -> tuple[MailStatus, bool]:
        """The mail's status, and whether somebody is sending it now."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(MAIL_STATE, notification_id)
        return (MailStatus(row["status"]), row["leased"]) if row else (MailStatus.SKIPPED, False)

    async def mark_sent(self, claim: Claim, response: str) -> None:
        """The mail is out. True even if the lease ran out meanwhile, so it is not asked for."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE notifications SET status = 'sent', sent_at = now(), response = $2, lease = NULL, "
                "next_attempt_at = NULL WHERE id = $1 AND status = 'pending'",
                claim.id,
                response,
            )

    async def mark_failed(self, claim: Claim, response: str) -> None:
        """The mail is given up."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE notifications SET status = 'failed', response = $2, lease = NULL, next_attempt_at = NULL "
                "WHERE id = $1 AND lease = $3",
                claim.id,
                response,
                self._lease,
            )

    async def try_later(self, claim: Claim, delay: timedelta, response: str) -> None:
        """The mail is still owed, and due again after `delay`."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE notifications SET response = $2, lease = NULL, next_attempt_at = now() + $4::interval "
                "WHERE id = $1 AND lease = $3",
                claim.id,
                response,
                self._lease,
                delay,
            )

    async def release_claims(self) -> None:
        """Give back every mail this process still holds, due at once."""
        async with self._database.connection() as connection:
            await connection.execute(RELEASE_CLAIMS, self._lease)

    async def items(
        self, *, limit: int, before: int | None = None, message_id: str | None = None, booking_id: int | None = None
    ) -> Sequence[Item]:
        """Notifications, newest first, older than the one numbered `before`."""
        filters = {"id <": before, "message_id =": message_id, "booking_id =": booking_id}
        given = {test: value for test, value in filters.items() if value is not None}
        where = " AND ".join(f"{test} ${number}" for number, test in enumerate(given, start=2)) or "true"
        query = f"SELECT {ITEM} FROM notifications WHERE {where} ORDER BY id DESC LIMIT $1"  # noqa: S608
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, limit, *given.values())
        return [msgspec.convert(dict(row), Item) for row in rows]


def _mail_owed(notification: Notification, email: str | None) -> tuple[MailStatus, str | None]:
    if notification.told_with_the_event:
        return MailStatus.SKIPPED, "No email: the facilitator is told once, with the event's cancellation"
    if email is None:
        return MailStatus.SKIPPED, "No email: the facilitator's address is not known"
    return MailStatus.PENDING, None


def _claim(row: Mapping[str, Any]) -> Claim:
    fields: dict[str, Any] = dict(row)
    return Claim(notification=msgspec.json.decode(fields.pop("body"), type=Notification), **fields)
