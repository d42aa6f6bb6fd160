"""The notifications table: received notifications and the state of their mails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from crm.batched_inserts import BatchedInserts
from crm.database import Database
from crm.delivery.queue import Queue, Status
from crm.erasure.bodies import erased_notification
from crm.erasure.erased_users import NAMES_NO_ERASED_USER, as_array, erased_among
from crm.facilitator_events import STATE, event_state, remember_events_of
from crm.notifications import BookingId, InvalidFields, Moment, Notification, read_notification

_COPIED = {
    "message_id": "text",
    "action": "text",
    "booking_id": "bigint",
    "coaching_id": "uuid",
    "user_name": "text",
    "user_email": "text",
    "recipient_name": "text",
    "recipient_email": "text",
    "status": "text",
    "response": "text",
    "attempts": "integer",
    "lease": "uuid",
}
COLUMNS: Mapping[str, str] = {
    **STATE,
    **_COPIED,
    "body": "text",
    "due_after": "interval",
    "names_facilitator": "boolean",
    "people": "text",
    "occurred_at": "timestamptz",
}
_STATE_COPIED = "event_id, facilitator_id, event_title, event_date"
_INSERTED = f"{_STATE_COPIED}, {', '.join(_COPIED)}"


# One statement, which is a transaction and a round trip. No conflict target: the identity cannot collide, so the only
# conflict there is, is the message's id. Rows are locked in the order of their keys, so that two processes with the
# same messages, facilitators or events do not deadlock. Of several messages with a facilitator the newest one counts.
# Reading the facilitator first keeps the row unlocked in the common case; ON CONFLICT DO UPDATE would lock it for
# nothing.
def _record(given: str) -> str:
    return f"""
WITH given AS MATERIALIZED (
    SELECT *, uuidv7() AS mail_id FROM {given}
), inserted AS (
    INSERT INTO notifications ({_INSERTED}, mail_id, body, next_attempt_at, sent_at)
    SELECT {_INSERTED}, mail_id, body::jsonb, now() + due_after, CASE WHEN status = '{Status.SENT}' THEN now() END
    FROM given WHERE {NAMES_NO_ERASED_USER} ORDER BY message_id, place
    ON CONFLICT DO NOTHING
    RETURNING id, mail_id, received_at
), stored AS (
    SELECT given.*, inserted.id, inserted.received_at FROM inserted JOIN given USING (mail_id)
), facilitator AS (
    INSERT INTO facilitators AS known (id, name, email, told_at)
    SELECT * FROM (
        SELECT DISTINCT ON (facilitator_id) facilitator_id AS id, recipient_name AS name, recipient_email AS email,
            least(coalesce(occurred_at, now()), now()) AS told_at
        FROM stored WHERE names_facilitator
        ORDER BY facilitator_id, told_at DESC, place DESC
    ) newest
    WHERE NOT EXISTS (
        SELECT FROM facilitators f
        WHERE f.id = newest.id AND f.name IS NOT DISTINCT FROM newest.name AND f.email = newest.email
    )
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, told_at = excluded.told_at
    WHERE known.told_at <= excluded.told_at
), event AS ({remember_events_of("stored")})
SELECT place, id, mail_id, received_at FROM stored
"""  # noqa: S608 (composed of constants)


MAIL_COLUMNS = "n.id, n.mail_id, n.body, n.received_at, n.recipient_name, n.recipient_email, n.attempts"

ITEM = """id, message_id, action, booking_id, coaching_id, user_name, user_email, event_title, event_date,
    facilitator_id, received_at, processed, status, sent_at, response"""

ABOUT_BOOKING = "num_nonnulls(booking_id, coaching_id) = 1"

# Only who and when change: the pending mail of a deleted notification is still sent, and its message id stays used.
DELETE = "UPDATE notifications SET deleted_at = now(), deleted_by = $1 WHERE deleted_at IS NULL"

MARK_PROCESSED = """
UPDATE notifications SET processed = true, processed_at = coalesce(processed_at, now()),
    processed_by = coalesce(processed_by, $2)
WHERE id = $1 AND deleted_at IS NULL
RETURNING id
"""


class MailClaim(msgspec.Struct, frozen=True):
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
    status: Status
    claim: MailClaim | None = None


class Item(msgspec.Struct, frozen=True):
    """A notification as both API documents list it."""

    id: int
    message_id: str | None
    action: str | None
    booking_id: BookingId | None
    user_name: str | None
    user_email: str | None
    event_title: str | None
    event_date: Moment | None
    facilitator_id: int | None
    received_at: Moment
    processed: bool
    status: Status
    sent_at: Moment | None
    response: str | None


class MessageIdReused(Exception):
    """The message id is known with another body."""


class NotificationNotFound(Exception):
    """There is no notification with this id, or none any more."""


def mail_queue(database: Database, lease: UUID, lease_time: timedelta) -> Queue[MailClaim]:
    """Notifications with a pending mail."""
    return Queue(database, table="notifications", columns=MAIL_COLUMNS, read=_claim, lease=lease, lease_time=lease_time)


class NotificationStore:
    """What is recorded and shown of notifications. `lease` is this process's name in the rows it has claimed."""

    def __init__(self, database: Database, lease: UUID, lease_time: timedelta) -> None:
        self._database = database
        self._lease = lease
        self._lease_time = lease_time
        self._inserts = BatchedInserts(database, _record, COLUMNS)

    async def record(
        self, notification: Notification, body: str, message_id: str | None, *, claim: bool = True
    ) -> Recorded:
        """Store a message once, and claim its mail when `claim`; raises MessageIdReused, InvalidFields.

        A second call with the same `message_id`, at the same moment or later, finds the row of the first.
        """
        erased: frozenset[int] = frozenset()
        while True:
            try:
                recorded = await self._insert(notification, body, message_id, erased, claim=claim)
                if recorded is not None:
                    return recorded
                # The insert waited for the winner, which has committed, or left out a message about an erased user.
                async with self._database.connection() as connection:
                    first = await connection.fetchrow(
                        "SELECT id, status, body = $2::jsonb AS same FROM notifications WHERE message_id = $1",
                        message_id,
                        body,
                    )
                    erased = await erased_among(connection, notification.people)
            except asyncpg.DataError:  # jsonb holds fewer numbers than JSON can write: 1e-99999
                raise InvalidFields({"body": "A number is out of range"}) from None
            if first is not None:
                if not (first["same"] or erased):
                    raise MessageIdReused
                return Recorded(first["id"], Status(first["status"]))
            if erased:
                kept = erased_notification(
                    msgspec.json.decode(body),
                    client=notification.client_key in erased,
                    facilitator=not erased.isdisjoint(notification.facilitator_keys),
                )
                body = msgspec.json.encode(kept).decode()
                notification = read_notification(kept)

    async def _insert(
        self, notification: Notification, body: str, message_id: str | None, erased: frozenset[int], *, claim: bool
    ) -> Recorded | None:
        """`erased`: users whose data the message does not have any more."""
        name, email = (None, None) if notification.facilitator_keys & erased else await self._recipient(notification)
        status, response = _is_mailed(notification, email)
        pending = status is Status.PENDING
        leased = pending and claim
        user = notification.user
        values = (
            *event_state(notification),
            message_id,
            notification.action,
            *_key(notification.booking_id),
            user.name if user else None,
            user.email if user else None,
            name,
            email,
            status.value,
            response,
            int(leased),
            self._lease if leased else None,
            body,
            (self._lease_time if leased else timedelta()) if pending else None,
            _names_facilitator(notification),
            as_array(notification.people - erased),
            notification.occurred_at_utc,
        )
        row = await self._inserts(values)
        if row is None:
            return None
        if not leased or email is None:
            return Recorded(row["id"], status)
        return Recorded(
            row["id"], status, MailClaim(row["id"], row["mail_id"], notification, row["received_at"], name, email, 1)
        )

    async def _recipient(self, notification: Notification) -> tuple[str | None, str | None]:
        facilitator = notification.facilitator
        if facilitator and facilitator.email:
            return facilitator.name, facilitator.email
        async with self._database.connection() as connection:
            known = await connection.fetchrow(
                "SELECT name, email FROM facilitators WHERE id = $1", notification.facilitator_key
            )
        return (known["name"], known["email"]) if known else (facilitator.name if facilitator else None, None)

    async def items(
        self,
        *,
        limit: int,
        before: int | None = None,
        message_id: str | None = None,
        booking_id: BookingId | None = None,
        with_events: bool = False,
    ) -> Sequence[Item]:
        """Notifications that are not deleted, newest first, older than the one numbered `before`.

        Those about an event as such, which name no booking, only `with_events`.
        """
        number, session = _key(booking_id)
        filters = {"id <": before, "message_id =": message_id, "booking_id =": number, "coaching_id =": session}
        given = {test: value for test, value in filters.items() if value is not None}
        tests = ["deleted_at IS NULL", *(f"{test} ${number}" for number, test in enumerate(given, start=2))]
        if not with_events:
            tests.append(ABOUT_BOOKING)
        query = f"SELECT {ITEM} FROM notifications WHERE {' AND '.join(tests)} ORDER BY id DESC LIMIT $1"  # noqa: S608
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, limit, *given.values())
        return [_item(row) for row in rows]

    async def mark_processed(self, notification_id: int, who: str) -> None:
        """Mark it as processed; the first caller is recorded. Raises NotificationNotFound."""
        async with self._database.connection() as connection:
            if await connection.fetchrow(MARK_PROCESSED, notification_id, who) is None:
                raise NotificationNotFound

    async def delete(self, notification_id: int, who: str) -> None:
        """Hide it from the list, and nothing else. Raises NotificationNotFound."""
        async with self._database.connection() as connection:
            if await connection.execute(f"{DELETE} AND id = $2", who, notification_id) == "UPDATE 0":
                raise NotificationNotFound

    async def clear(self, who: str, *, with_events: bool = False) -> int:
        """Hide all that the list would show; how many they were."""
        which = "" if with_events else f" AND {ABOUT_BOOKING}"
        async with self._database.connection() as connection:
            done = await connection.execute(f"{DELETE}{which}", who)
        return int(done.removeprefix("UPDATE "))


def _key(booking_id: BookingId | None) -> tuple[int | None, UUID | None]:
    """The columns that name a booking: its number, or a coaching session's UUID."""
    return (None, booking_id) if isinstance(booking_id, UUID) else (booking_id, None)


def _names_facilitator(notification: Notification) -> bool:
    """Whether the message has the name and the address of its facilitator, which later messages may lack."""
    facilitator, key = notification.facilitator, notification.facilitator_key
    return bool(facilitator and facilitator.email and key and facilitator.id in (None, key))


def _is_mailed(notification: Notification, email: str | None) -> tuple[Status, str | None]:
    """The status of a new notification, and its reason. A mail that the sender of a message about an event sends itself
    counts as sent, as document B describes it."""
    if not notification.email_facilitator and isinstance(notification.booking_id, UUID):
        return Status.SKIPPED, "No email: the booking system writes to the facilitator itself"
    if notification.caused_by_facilitator:
        return Status.SKIPPED, "No email: the facilitator did this"
    if notification.cancelled_with_event:
        return Status.SKIPPED, "No email: one mail is sent, about the cancelled event"
    if email is None:
        return Status.SKIPPED, "No email: the facilitator's address is not known"
    if not notification.email_facilitator:
        return Status.SENT, f"The booking system sends the email to {email}"
    return Status.PENDING, None


def _item(row: asyncpg.Record) -> Item:
    fields: dict[str, Any] = dict(row)
    session = fields.pop("coaching_id")
    return msgspec.convert(fields | ({"booking_id": str(session)} if session else {}), Item)


def _claim(row: asyncpg.Record) -> MailClaim:
    fields: dict[str, Any] = dict(row)
    return MailClaim(notification=msgspec.json.decode(fields.pop("body"), type=Notification), **fields)
