"""Webhooks for operators: what was received, and what became of its deliveries.

A payment report that the booking API answers with 404 names another user, event or booking than the API has: nothing
was recorded as paid. It is shown as a mismatch until an operator has marked it as processed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from crm.database import Database
from crm.webhook_store import MISMATCH, Destination

_DELIVERIES = f"""
SELECT coalesce(jsonb_agg(jsonb_build_object(
    'destination', d.destination, 'status', d.status, 'response', d.response, 'attempts', d.attempts,
    'sent_at', d.sent_at, 'mismatch', coalesce({MISMATCH}, false), 'processed_at', d.processed_at) ORDER BY d.id), '[]')
FROM crm_booking_deliveries d WHERE d.crm_booking_id = b.id
"""  # noqa: S608 (composed of constants)
_OPEN = "d.status = 'failed' AND d.processed_at IS NULL"

# Refused deliveries are few and have an index, so their webhooks are not looked for among all others. A webhook has at
# most two deliveries.
_BEFORE = "coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')"
_WITH_REFUSED = f"""b.id = ANY (ARRAY(
    SELECT d.crm_booking_id FROM crm_booking_deliveries d
    WHERE d.crm_booking_id < {_BEFORE} AND {{}} ORDER BY d.crm_booking_id DESC LIMIT 2 * $1::bigint))"""  # noqa: S608
_CHOSEN = {
    None: "true",
    "failed": _WITH_REFUSED.format(_OPEN),
    "mismatch": _WITH_REFUSED.format(f"{_OPEN} AND {MISMATCH}"),
}
FILTERS = tuple(name for name in _CHOSEN if name)
"""`failed`: with a refused delivery that no operator has processed; `mismatch`: those that name another user, event or
booking."""

_LIST = f"""
SELECT b.id, b.booking_id, b.user_id, b.user_name, b.user_email, b.event_id, b.facilitator_id, b.payment_status,
    b.received_at, ({_DELIVERIES}) AS deliveries
FROM crm_bookings b
WHERE b.id < {_BEFORE} AND {{chosen}}
ORDER BY b.id DESC LIMIT $1::bigint
"""  # noqa: S608 (composed of constants)
_PROCESS = f"""
UPDATE crm_booking_deliveries d SET processed_at = now(), processed_by = $2 WHERE crm_booking_id = $1 AND {_OPEN}
"""  # noqa: S608 (composed of constants)


class WebhookNotFound(Exception):
    """There is no such webhook."""


class DeliveryItem(msgspec.Struct, frozen=True):
    """`mismatch`: the booking API has another user, event or booking. `processed_at`: an operator has dealt with the
    refusal."""

    destination: Destination
    status: str
    response: str | None
    attempts: int
    sent_at: datetime | None
    mismatch: bool
    processed_at: datetime | None


class WebhookItem(msgspec.Struct, frozen=True):
    id: UUID
    booking_id: int
    user_id: int | None
    user_name: str | None
    user_email: str | None
    event_id: int | None
    facilitator_id: int | None
    payment_status: str | None
    received_at: datetime
    deliveries: Sequence[DeliveryItem]


class RefusedWebhooks:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def items(
        self, *, limit: int, before: UUID | None = None, chosen: str | None = None
    ) -> Sequence[WebhookItem]:
        """Webhooks, newest first, older than `before`. `chosen` is one of `FILTERS`."""
        query = _LIST.format(chosen=_CHOSEN[chosen])
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, limit, before)
        return [_item(row) for row in rows]

    async def mark_processed(self, webhook_id: UUID, who: str) -> None:
        """Marks the refused deliveries as dealt with; the first caller is recorded. Raises `WebhookNotFound`."""
        async with self._database.connection() as connection:
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM crm_bookings WHERE id = $1)", webhook_id):
                raise WebhookNotFound
            await connection.execute(_PROCESS, webhook_id, who)


def _item(row: asyncpg.Record) -> WebhookItem:
    fields: dict[str, Any] = dict(row)
    deliveries = fields.pop("deliveries")
    given = msgspec.json.decode(deliveries) if isinstance(deliveries, str) else deliveries
    return msgspec.convert(fields | {"deliveries": given}, WebhookItem)
