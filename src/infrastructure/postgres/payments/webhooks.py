"""The webhook inbox, inside a unit of work."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from application.payments.ports.gateways import GatewayEvent
from application.payments.ports.records import StoredUpdate
from domain.payments import DisputeUpdate, GatewayUpdate, PaymentId, PaymentUpdate, RefundUpdate
from infrastructure.postgres.payments.repository import first, run

_KINDS: dict[str, type[StoredUpdate]] = {"payment": GatewayUpdate, "refund": RefundUpdate, "dispute": DisputeUpdate}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class PostgresGatewayEvents:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, gateway: str, event: GatewayEvent, now: datetime) -> bool:
        added = await first(
            self._session,
            """INSERT INTO gateway_events (gateway, id, kind, report, payload, received_at)
            VALUES (:gateway, :id, :kind, CAST(:report AS jsonb), CAST(:payload AS jsonb), :now)
            ON CONFLICT DO NOTHING RETURNING id""",
            gateway=gateway,
            id=event.id,
            kind=event.kind,
            report=stored(event.report) if event.report else None,
            payload=msgspec.json.encode(event.payload).decode(),
            now=now,
        )
        return added is not None

    async def report(self, gateway: str, event_id: str) -> tuple[StoredUpdate | None, datetime]:
        row = await first(
            self._session,
            "SELECT report, received_at FROM gateway_events WHERE gateway = :gateway AND id = :id",
            gateway=gateway,
            id=event_id,
        )
        assert row is not None
        return _read(row["report"]) if row["report"] else None, row["received_at"]

    async def first_arrival(self, gateway: str, order_id: str | None, payment_id: PaymentId) -> datetime | None:
        row = await first(
            self._session,
            """SELECT min(received_at) AS first FROM gateway_events
            WHERE settled_at IS NULL AND report IS NOT NULL AND gateway = :gateway
              AND report -> 'report' ->> 'report' = :received
              AND (report -> 'report' ->> 'order_id' = :order_id
                  OR report -> 'report' ->> 'payment_id' = :payment_id)""",
            gateway=gateway,
            received=PaymentUpdate.RECEIVED,
            order_id=order_id,
            payment_id=str(payment_id),
        )
        return row["first"] if row else None

    async def lock_payment(self, gateway: str, gateway_id: str) -> None:
        await run(
            self._session,
            "SELECT pg_advisory_xact_lock(hashtextextended('payment ' || :gateway || ' ' || :gateway_id, 0))",
            gateway=gateway,
            gateway_id=gateway_id,
        )

    async def waiting_for(self, gateway: str, gateway_id: str) -> Sequence[str]:
        found = await self._session.execute(
            text(
                """SELECT id FROM gateway_events
                WHERE settled_at IS NULL AND report IS NOT NULL AND gateway = :gateway
                  AND report ->> 'kind' = 'dispute' AND report -> 'report' ->> 'gateway_id' = :gateway_id
                ORDER BY received_at, id"""
            ),
            {"gateway": gateway, "gateway_id": gateway_id},
        )
        return list(found.scalars())

    async def record_result(self, gateway: str, event_id: str, outcome: str, now: datetime) -> None:
        await run(
            self._session,
            """UPDATE gateway_events SET settled_at = :now, outcome = :outcome
            WHERE gateway = :gateway AND id = :id""",
            gateway=gateway,
            id=event_id,
            outcome=outcome,
            now=now,
        )


def stored(update: StoredUpdate) -> str:
    """A normalised update as JSON."""
    return msgspec.json.encode({"kind": _NAMES[type(update)], "report": update}).decode()


def _read(stored_update: dict[str, Any]) -> StoredUpdate:
    return msgspec.convert(stored_update["report"], _KINDS[stored_update["kind"]])
