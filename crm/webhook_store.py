"""The crm_bookings table: every webhook once, with its deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import asyncpg
import msgspec

from crm.batched_inserts import BatchedInserts
from crm.database import Database
from crm.delivery.queue import Queue
from crm.erasure.bodies import erased_webhook
from crm.erasure.erased_users import NAMES_NO_ERASED_USER, as_array, erased_among
from crm.notification_store import MessageIdReused
from crm.notifications import InvalidFields
from crm.webhooks import Webhook, read_webhook

_COPIED = {
    "message_id": "text",
    "booking_id": "bigint",
    "user_id": "bigint",
    "user_name": "text",
    "user_email": "text",
    "event_id": "bigint",
    "facilitator_id": "bigint",
    "payment_status": "text",
}
COLUMNS: Mapping[str, str] = {**_COPIED, "body": "text", "forward": "text", "payment": "text", "people": "text"}
_INSERTED = ", ".join(_COPIED)


# One statement, which is a transaction and a round trip. `forward` and `payment` are the bodies of the deliveries.
def _record(given: str) -> str:
    return f"""
WITH given AS MATERIALIZED (
    SELECT *, uuidv7() AS id FROM {given}
), inserted AS (
    INSERT INTO crm_bookings (id, {_INSERTED}, body)
    SELECT id, {_INSERTED}, body::json FROM given WHERE {NAMES_NO_ERASED_USER} ORDER BY message_id, place
    ON CONFLICT (message_id) DO NOTHING
    RETURNING id
), stored AS (
    SELECT given.* FROM inserted JOIN given USING (id)
), enqueued AS (
    INSERT INTO crm_booking_deliveries (crm_booking_id, destination, body)
    SELECT stored.id, delivery.destination, delivery.body::json
    FROM stored, LATERAL (VALUES ('forward', forward), ('payment', payment)) AS delivery (destination, body)
    WHERE delivery.body IS NOT NULL
    ORDER BY place, delivery.destination
)
SELECT place, id FROM stored
"""  # noqa: S608 (composed of constants)


FIRST = """
SELECT b.id, b.body::jsonb = $2::jsonb AS same,
    array(SELECT d.destination FROM crm_booking_deliveries d WHERE d.crm_booking_id = b.id) AS destinations
FROM crm_bookings b WHERE b.message_id = $1
"""


MISMATCH = "(d.destination = 'payment' AND d.response LIKE 'Payment report failed: 404 %')"
"""SQL: the booking API has another user, event or booking than the payment report in delivery `d` names."""


class Destination(StrEnum):
    """Destinations of a webhook: the server that it is forwarded to, the booking API for payments."""

    TRANSITIONS = "forward"
    PAYMENT = "payment"


class WebhookDelivery(msgspec.Struct, frozen=True):
    """A body that is ours to hand over until the lease ends. `crm_booking_id` names it to the destination."""

    id: int
    crm_booking_id: UUID
    body: str
    received_at: datetime
    attempts: int


class Stored(msgspec.Struct, frozen=True):
    """A webhook that is stored, by this call or by an earlier one with the same message id."""

    id: UUID
    destinations: Sequence[Destination]


def webhook_queue(
    database: Database, destination: Destination, lease: UUID, lease_time: timedelta
) -> Queue[WebhookDelivery]:
    """The deliveries to one destination."""
    return Queue(
        database,
        table="crm_booking_deliveries",
        columns="n.id, n.crm_booking_id, n.body, n.received_at, n.attempts",
        read=_delivery,
        lease=lease,
        lease_time=lease_time,
        which=f"destination = '{destination}'",
    )


class WebhookStore:
    def __init__(self, database: Database, *, forwards: bool) -> None:
        self._database = database
        self._forwards = forwards
        self._inserts = BatchedInserts(database, _record, COLUMNS)

    async def record(self, webhook: Webhook, body: str, message_id: str | None) -> Stored:
        """Store a webhook once, with its deliveries; raises MessageIdReused, InvalidFields.

        A second call with the same `message_id`, at the same moment or later, finds the row of the first.
        """
        erased: frozenset[int] = frozenset()
        while True:
            try:
                stored = await self._insert(webhook, body, message_id, erased)
                if stored is not None:
                    return stored
                # The insert waited for the winner, which has committed, or left out a webhook about an erased user.
                async with self._database.connection() as connection:
                    first = await connection.fetchrow(FIRST, message_id, body)
                    erased = await erased_among(connection, webhook.people)
            except asyncpg.DataError:  # jsonb holds fewer numbers than JSON can write: 1e-99999
                raise InvalidFields({"body": "A number is out of range"}) from None
            if first is not None and (first["same"] or erased):
                return Stored(first["id"], tuple(Destination(name) for name in first["destinations"]))
            if not erased:
                raise MessageIdReused
            kept = erased_webhook(msgspec.json.decode(body), client=not erased.isdisjoint(webhook.client_keys))
            body = msgspec.json.encode(kept).decode()
            webhook = read_webhook(kept)

    async def _insert(
        self, webhook: Webhook, body: str, message_id: str | None, erased: frozenset[int]
    ) -> Stored | None:
        """`erased`: users whose data the webhook does not have any more."""
        forward = body if self._forwards else None
        payment = msgspec.json.encode(webhook.payment).decode() if webhook.payment else None
        user = webhook.user
        values = (
            message_id,
            webhook.booking_id,
            webhook.user_key,
            user.name if user else None,
            user.email if user else None,
            webhook.event_key,
            webhook.facilitator_key,
            webhook.payment_status,
            body,
            forward,
            payment,
            as_array(webhook.people - erased),
        )
        row = await self._inserts(values)
        if row is None:
            return None
        bodies = {Destination.TRANSITIONS: forward, Destination.PAYMENT: payment}
        return Stored(row["id"], tuple(name for name, given in bodies.items() if given is not None))


def _delivery(row: asyncpg.Record) -> WebhookDelivery:
    return WebhookDelivery(**row)
