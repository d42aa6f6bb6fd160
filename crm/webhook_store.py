"""The crm_bookings table: every webhook once, with its deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import asyncpg
import msgspec

from crm.database import Database
from crm.delivery.queue import Queue
from crm.notification_store import MessageIdReused
from crm.notifications import InvalidFields
from crm.webhooks import Webhook

# One statement, which is a transaction and a round trip. $10 and $11: destinations and bodies of the deliveries.
RECORD = """
WITH inserted AS (
    INSERT INTO crm_bookings
        (message_id, body, booking_id, user_id, user_name, user_email, event_id, facilitator_id, payment_status)
    VALUES ($1, $2::json, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (message_id) DO NOTHING
    RETURNING id
), enqueued AS (
    INSERT INTO crm_booking_deliveries (crm_booking_id, destination, body)
    SELECT inserted.id, delivery.destination, delivery.body::json
    FROM inserted, unnest($10::text[], $11::text[]) AS delivery (destination, body)
)
SELECT id FROM inserted
"""

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

    async def record(self, webhook: Webhook, body: str, message_id: str | None) -> Stored:
        """Store a webhook once, with its deliveries; raises MessageIdReused, InvalidFields.

        A second call with the same `message_id`, at the same moment or later, finds the row of the first.
        """
        destinations = {Destination.TRANSITIONS: body} if self._forwards else {}
        if webhook.payment:
            destinations[Destination.PAYMENT] = msgspec.json.encode(webhook.payment).decode()
        user = webhook.user
        values = (
            message_id,
            body,
            webhook.booking_id,
            webhook.user_key,
            user.name if user else None,
            user.email if user else None,
            webhook.event_key,
            webhook.facilitator_key,
            webhook.payment_status,
        )
        async with self._database.connection() as connection:
            try:
                stored = await connection.fetchval(RECORD, *values, [*destinations], [*destinations.values()])
                if stored is not None:
                    return Stored(stored, tuple(destinations))
                # READ COMMITTED: the insert waited for the winner, so a new statement sees its row.
                first = await connection.fetchrow(FIRST, message_id, body)
            except asyncpg.DataError:  # jsonb holds fewer numbers than JSON can write: 1e-99999
                raise InvalidFields({"body": "A number is out of range"}) from None
        if first is None or not first["same"]:
            raise MessageIdReused
        return Stored(first["id"], tuple(Destination(name) for name in first["destinations"]))


def _delivery(row: asyncpg.Record) -> WebhookDelivery:
    return WebhookDelivery(**row)
