"""The sandbox gateway, for trials without an account and without money. It stores its own orders and sends signed
webhooks, as a real gateway does. Its checkout has two buttons instead of card details. A paid order has buttons that
open and decide a dispute, as the payer's bank does."""

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import asyncpg

from application.payments.ports.gateways import (
    Checkout,
    GatewayEvent,
    GatewayRecord,
    GatewayRefused,
    PaymentRequest,
    RefundAnswer,
    RefundRequest,
    SandboxOrder,
)
from domain.disputes import TRANSITIONS, Dispute, DisputeStatus, PaymentDisputed
from domain.money import Money
from domain.payments import DisputeUpdate, GatewayUpdate, InvalidSignature, Payment, PaymentId, PaymentUpdate
from infrastructure.postgres.engine import Database
from infrastructure.postgres.erasure.statements import USER, scrubbed

SIGNATURE = "sandbox-signature"

# The title of an order is that of the event, or names the coach.
ERASE = (
    f"""UPDATE sandbox_orders o SET title = {scrubbed("o.title")}
        FROM payments p LEFT JOIN bookings b ON b.id = p.booking_id LEFT JOIN events e ON e.id = b.event_id
            LEFT JOIN coaching_bookings c ON c.id = p.coaching_booking_id
        WHERE p.id = o.payment_id AND {USER} IN (e.facilitator_id, c.coach_id)""",  # noqa: S608 (composed of constants)
)

# An order is kept while its booking is ahead and may be refunded, and until its refunds are paid
# and its dispute is decided.
PRUNE_SANDBOX_ORDERS = """
DELETE FROM sandbox_orders WHERE id IN (
    SELECT o.id FROM sandbox_orders o
    WHERE o.created_at < now() - $1::interval AND NOT EXISTS (
        SELECT FROM payments p LEFT JOIN bookings b ON b.id = p.booking_id
            LEFT JOIN coaching_bookings c ON c.id = p.coaching_booking_id
        WHERE p.id = o.payment_id AND (
            b.status = 'confirmed' OR c.status IN ('pending', 'confirmed') OR p.dispute = 'open'
            OR EXISTS (SELECT FROM refunds r
                       WHERE r.payment_id = p.id AND r.status <> 'processed' AND r.ended_by IS NULL)))
    ORDER BY o.created_at LIMIT $2
    FOR UPDATE OF o SKIP LOCKED)
"""
"""$1: age, $2: at most so many rows."""

_REPORTS: dict[str, PaymentUpdate] = {
    "open": PaymentUpdate.OPEN,
    "paid": PaymentUpdate.RECEIVED,
    "declined": PaymentUpdate.FAILED,
    "expired": PaymentUpdate.FAILED,
}


class SandboxGateway:
    name = "sandbox"
    holds_seats = True

    def __init__(self, database: Database, *, public_url: str, secret: bytes) -> None:
        self._database = database
        self._public_url = public_url
        self._secret = secret

    def refuse_price(self, price: Money) -> None: ...

    async def open_checkout(self, request: PaymentRequest) -> Checkout | None:
        order_id = f"sbx_{request.payment_id.hex}"
        async with self._database.connection() as connection:
            await connection.execute(
                """INSERT INTO sandbox_orders (id, payment_id, title, amount, currency, state, created_at)
                VALUES ($1, $2, $3, $4, $5, 'open', now()) ON CONFLICT DO NOTHING""",
                order_id,
                request.payment_id,
                request.title,
                request.price.amount,
                request.price.currency,
            )
        return Checkout(order_id, f"{self._public_url}/sandbox/pay/{order_id}")

    async def look_up(self, payment: Payment) -> GatewayRecord:
        order = await self.find(payment.order_id or "")
        if order is None:
            raise GatewayRefused(f"The sandbox knows no order {payment.order_id}")
        received = order.price if order.state == "paid" else Money(Decimal(0), order.price.currency)
        return GatewayRecord(_report(order), received, order.refunded, _disputes(order))

    async def expire_checkout(self, payment: Payment) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE sandbox_orders SET state = 'expired' WHERE id = $1 AND state IN ('open', 'declined')",
                payment.order_id,
            )

    async def refund(self, request: RefundRequest) -> RefundAnswer:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """UPDATE sandbox_orders SET refunds = refunds || jsonb_build_object($2::text, $3::text)
                WHERE id = $1 AND state = 'paid' AND (refunds ? $2 OR coalesce(dispute, 'won') = 'won')
                RETURNING id""",
                request.payment.order_id,
                str(request.refund_id),
                str(request.amount.amount),
            )
        if row is None:
            order = await self.find(request.payment.order_id or "")
            if order is not None and order.dispute is not None:
                raise PaymentDisputed
            raise GatewayRefused("The sandbox has no such payment to give back")
        return RefundAnswer(f"sbxr_{request.refund_id.hex}", settled=True)

    def read_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        if not hmac.compare_digest(self._sign(body).encode(), headers.get(SIGNATURE, "").encode()):
            raise InvalidSignature
        event: dict[str, Any] = json.loads(body)
        if "dispute" in event:
            return GatewayEvent(event["id"], event["type"], _dispute_update(event), event)
        order = event["order"]
        paid = Money(Decimal(order["amount"]), order["currency"])
        report = GatewayUpdate(
            order_id=order["id"],
            report=_REPORTS[order["state"]],
            payment_id=PaymentId(uuid.UUID(order["payment_id"])),
            gateway_id=f"sbxp_{order['id']}" if order["state"] == "paid" else None,
            amount=paid if order["state"] == "paid" else None,
        )
        return GatewayEvent(event["id"], event["type"], report, event)

    async def find(self, order_id: str) -> SandboxOrder | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM sandbox_orders WHERE id = $1", order_id)
        return _order(row) if row else None

    async def decide(self, order_id: str, state: Literal["paid", "declined"]) -> tuple[bytes, dict[str, str]] | None:
        """Handles a button of the page. Returns the signed webhook that a real gateway would send; None when the order
        is paid or expired. A declined order can still be paid."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "UPDATE sandbox_orders SET state = $2 WHERE id = $1 AND state IN ('open', 'declined') RETURNING *",
                order_id,
                state,
            )
        if row is None:
            return None
        order = _order(row)
        return self._webhook(
            f"order.{state}",
            order={
                "id": order.id,
                "payment_id": str(order.payment_id),
                "amount": str(order.price.amount),
                "currency": order.price.currency,
                "state": state,
            },
        )

    async def dispute(self, order_id: str, status: DisputeStatus) -> tuple[bytes, dict[str, str]] | None:
        """Handles a button of the page of a paid order. Returns the signed webhook; None where the order has no such
        dispute."""
        before = [str(earlier) for earlier, later in TRANSITIONS.items() if status in later]
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """UPDATE sandbox_orders SET dispute = $2 WHERE id = $1 AND state = 'paid'
                AND CASE WHEN $2 = 'open' THEN dispute IS NULL ELSE dispute = ANY ($3) END RETURNING *""",
                order_id,
                status,
                before,
            )
        if row is None:
            return None
        (dispute,) = _disputes(_order(row))
        about = {"id": dispute.id, "amount": str(dispute.amount.amount), "currency": dispute.amount.currency}
        return self._webhook(f"dispute.{status}", dispute=about | {"order_id": order_id, "status": status})

    def _webhook(self, kind: str, **about: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        body = json.dumps({"id": f"sbxe_{uuid.uuid4().hex}", "type": kind, **about}).encode()
        return body, {SIGNATURE: self._sign(body)}

    def _sign(self, body: bytes) -> str:
        return hmac.new(self._secret, body, hashlib.sha256).hexdigest()


def _report(order: SandboxOrder) -> GatewayUpdate:
    paid = order.state == "paid"
    return GatewayUpdate(
        order_id=order.id,
        report=_REPORTS[order.state],
        payment_id=order.payment_id,
        gateway_id=f"sbxp_{order.id}" if paid else None,
        amount=order.price if paid else None,
    )


def _disputes(order: SandboxOrder) -> list[Dispute]:
    return [Dispute(f"sbxd_{order.id}", order.price, order.dispute)] if order.dispute is not None else []


def _dispute_update(event: dict[str, Any]) -> DisputeUpdate:
    about = event["dispute"]
    amount = Money(Decimal(about["amount"]), about["currency"])
    dispute = Dispute(about["id"], amount, DisputeStatus(about["status"]))
    return DisputeUpdate(dispute, f"sbxp_{about['order_id']}")


def _order(row: asyncpg.Record) -> SandboxOrder:
    currency = row["currency"]
    refunded = sum((Decimal(amount) for amount in row["refunds"].values()), Decimal(0))
    return SandboxOrder(
        id=row["id"],
        payment_id=PaymentId(row["payment_id"]),
        title=row["title"],
        price=Money(row["amount"], currency),
        state=row["state"],
        refunded=Money(refunded, currency),
        dispute=DisputeStatus(row["dispute"]) if row["dispute"] else None,
    )
