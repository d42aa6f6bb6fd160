"""Rows that name a user, and the replacement of what they have about the user.

A step looks at a limited number of rows, in the order of their ids, and replaces a smaller number. It ends before a row
whose mail or webhook is being delivered, since the delivery could write the data again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from crm.database import Connection
from crm.erasure.bodies import DELETED_USER, erased_notification, erased_webhook
from crm.notifications import Notification
from crm.webhooks import Webhook

LOOKED_AT, REPLACED = 5_000, 500
"""Rows of a step."""

DeleteMailFiles = Callable[[Collection[UUID]], Awaitable[int]]
"""Deletes the files of the mails with these ids; returns their number."""


class Step(NamedTuple):
    """`replaced`: how many rows and files, by kind. `until`: all rows up to this id are done. `waits`: the next row is
    in delivery."""

    replaced: Mapping[str, int]
    until: Any = None
    waits: bool = False
    is_last: bool = False


_NOTIFICATIONS = """
SELECT n.id, n.mail_id, n.body::text AS body, n.lease IS NOT NULL AND n.next_attempt_at > now() AS in_delivery
FROM notifications n
WHERE n.id > $1 AND n.id <= $2 AND (
    n.facilitator_id = $3 OR n.body #> '{user,id}' = ANY ($4::jsonb[]) OR n.body -> 'facilitator_id' = ANY ($4)
    OR n.body #> '{event,facilitator_id}' = ANY ($4) OR n.body #> '{facilitator,id}' = ANY ($4))
ORDER BY n.id LIMIT $5
FOR UPDATE
"""
# A response can have the address of the facilitator, and the answer of a mail server can name any person.
_REPLACE_NOTIFICATIONS = f"""
UPDATE notifications n SET
    body = own.body::jsonb,
    user_name = CASE WHEN own.client THEN '{DELETED_USER}' ELSE n.user_name END,
    user_email = CASE WHEN own.client THEN NULL ELSE n.user_email END,
    event_title = CASE WHEN own.facilitator THEN NULL ELSE n.event_title END,
    recipient_name = CASE WHEN own.facilitator THEN NULL ELSE n.recipient_name END,
    recipient_email = CASE WHEN own.facilitator THEN NULL ELSE n.recipient_email END,
    status = CASE WHEN own.facilitator AND n.status = 'pending' THEN 'skipped' ELSE n.status END,
    next_attempt_at = CASE WHEN own.facilitator THEN NULL ELSE n.next_attempt_at END,
    lease = CASE WHEN own.facilitator THEN NULL ELSE n.lease END,
    response = CASE
        WHEN n.status = 'pending' AND own.facilitator THEN 'No email: the account of the facilitator was erased'
        WHEN n.status = 'skipped' OR (n.status = 'sent' AND NOT own.facilitator) THEN n.response
    END
FROM unnest($1::bigint[], $2::text[], $3::boolean[], $4::boolean[]) AS own (id, body, client, facilitator)
WHERE n.id = own.id
"""  # noqa: S608 (composed of constants)

_WEBHOOKS = """
SELECT b.id, b.body::text AS body
FROM crm_bookings b
WHERE b.id > $1 AND b.id <= $2 AND (
    b.user_id = $3 OR b.facilitator_id = $3 OR b.body::jsonb #> '{user,id}' = ANY ($4::jsonb[])
    OR b.body::jsonb #> '{event,facilitator_id}' = ANY ($4))
ORDER BY b.id LIMIT $5
FOR UPDATE
"""
_DELIVERIES = """
SELECT crm_booking_id, lease IS NOT NULL AND next_attempt_at > now() AS in_delivery
FROM crm_booking_deliveries WHERE crm_booking_id = ANY ($1) ORDER BY id
FOR UPDATE
"""
# Of an answer the status remains: it says whether the webhook is a mismatch.
_REPLACE_WEBHOOKS = f"""
WITH own AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::boolean[]) AS own (id, body, client)
), deliveries AS (
    UPDATE crm_booking_deliveries d SET
        body = CASE WHEN d.destination = 'forward' THEN own.body::json ELSE d.body END,
        response = substring(d.response FROM '^[A-Za-z ]+: [0-9]{{3}} [A-Za-z -]*')
    FROM own WHERE d.crm_booking_id = own.id
)
UPDATE crm_bookings b SET
    body = own.body::json,
    user_name = CASE WHEN own.client THEN '{DELETED_USER}' ELSE b.user_name END,
    user_email = CASE WHEN own.client THEN NULL ELSE b.user_email END
FROM own WHERE b.id = own.id
"""  # noqa: S608 (composed of constants)

_EVENTS = """
WITH found AS (
    SELECT id FROM facilitator_events WHERE facilitator_id = $1 AND title IS NOT NULL ORDER BY id LIMIT $2 FOR UPDATE
)
UPDATE facilitator_events e SET title = NULL FROM found WHERE e.id = found.id
"""


async def erase_facilitator(connection: Connection, user_id: int) -> Step:
    """The recipient of mails, and the titles of the facilitator's events."""
    await connection.execute("DELETE FROM facilitators WHERE id = $1", user_id)
    events = int((await connection.execute(_EVENTS, user_id, REPLACED)).removeprefix("UPDATE "))
    return Step({"events": events}, is_last=events < REPLACED)


async def erase_notifications(
    connection: Connection, user_id: int, after: int, delete_mail_files: DeleteMailFiles
) -> Step:
    """Notifications after this id, with their mails. Pending mails to the user are skipped; those about the user are
    sent without a name."""
    rows, end = await _found(connection, "notifications", _NOTIFICATIONS, user_id, after)
    free = _before_a_delivery(rows, {row["id"] for row in rows if row["in_delivery"]})
    if free:
        roles = [_roles_in_notification(row["body"], user_id) for row in free]
        bodies = [
            _text(erased_notification(msgspec.json.decode(row["body"]), client=client, facilitator=facilitator))
            for row, (client, facilitator) in zip(free, roles, strict=True)
        ]
        ids = [row["id"] for row in free]
        await connection.execute(_REPLACE_NOTIFICATIONS, ids, bodies, *map(list, zip(*roles, strict=True)))
    # Before the commit: a file whose row has changed would not be found again.
    files = await delete_mail_files([row["mail_id"] for row in free])
    return _step({"notifications": len(free), "mail_files": files}, rows, free, after, end)


async def erase_webhooks(connection: Connection, user_id: int, after: UUID) -> Step:
    """Webhooks after this id, with their deliveries, which are forwarded without a name."""
    rows, end = await _found(connection, "crm_bookings", _WEBHOOKS, user_id, after)
    deliveries = await connection.fetch(_DELIVERIES, [row["id"] for row in rows]) if rows else []
    free = _before_a_delivery(rows, {each["crm_booking_id"] for each in deliveries if each["in_delivery"]})
    if free:
        clients = [_is_client_in_webhook(row["body"], user_id) for row in free]
        bodies = [
            _text(erased_webhook(msgspec.json.decode(row["body"]), client=client))
            for row, client in zip(free, clients, strict=True)
        ]
        await connection.execute(_REPLACE_WEBHOOKS, [row["id"] for row in free], bodies, clients)
    return _step({"webhooks": len(free)}, rows, free, after, end)


async def _found(
    connection: Connection, table: str, statement: str, user_id: int, after: Any
) -> tuple[Sequence[asyncpg.Record], Any]:
    """Rows that name the user, and the id up to which all were found; None if there are no rows at all."""
    end = await connection.fetchval(
        f"SELECT id FROM (SELECT id FROM {table} WHERE id > $1 ORDER BY id LIMIT $2) n ORDER BY id DESC LIMIT 1",  # noqa: S608
        after,
        LOOKED_AT,
    )
    if end is None:
        return [], None
    named = [msgspec.json.encode(identity).decode() for identity in (user_id, str(user_id))]
    rows = await connection.fetch(statement, after, end, user_id, named, REPLACED)
    return rows, rows[-1]["id"] if len(rows) == REPLACED else end


def _before_a_delivery(rows: Sequence[asyncpg.Record], in_delivery: Collection[Any]) -> Sequence[asyncpg.Record]:
    place = next((place for place, row in enumerate(rows) if row["id"] in in_delivery), len(rows))
    return rows[:place]


def _step(
    replaced: Mapping[str, int], rows: Sequence[asyncpg.Record], free: Sequence[asyncpg.Record], after: Any, end: Any
) -> Step:
    if end is None:
        return Step({}, after, is_last=True)
    if len(free) == len(rows):
        return Step(replaced, end)
    return Step(replaced, free[-1]["id"] if free else after, waits=True)


def _roles_in_notification(body: str, user_id: int) -> tuple[bool, bool]:
    """Whether the user is the client, and the facilitator. Both if an older version has stored something else."""
    try:
        notification = msgspec.json.decode(body, type=Notification)
    except msgspec.ValidationError:
        return True, True
    return notification.client_key == user_id, user_id in notification.facilitator_keys


def _is_client_in_webhook(body: str, user_id: int) -> bool:
    try:
        return user_id in msgspec.json.decode(body, type=Webhook).client_keys
    except msgspec.ValidationError:
        return True


def _text(body: dict[str, Any]) -> str:
    return msgspec.json.encode(body).decode()
