"""Payments, refunds and the webhook inbox, inside a unit of work."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from application.payments.ports.gateways import GatewayEvent
from application.payments.ports.records import PaymentTarget, Refund
from domain.accounts import UserId
from domain.appointments import Appointment
from domain.events import EventId
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef, PayableRef
from domain.money import Money
from domain.payments import (
    GatewayUpdate,
    Payment,
    PaymentId,
    PaymentNotFound,
    PaymentStatus,
    PaymentUpdate,
    RefundUpdate,
)
from domain.refunds import RefundId
from infrastructure.postgres.outbox.writer import PostgresMessages

_PAYMENT = "SELECT p.* FROM payments p"
_REFUND = """SELECT r.*, p.booking_id, p.coaching_booking_id, p.gateway
FROM refunds r JOIN payments p ON p.id = r.payment_id"""


_SUCCEEDED = {"pending": None, "processed": True, "failed": False}


class PostgresPayments:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find_payable(self, gateway: str, report: GatewayUpdate) -> PaymentTarget | None:
        row = await _first(
            self._session,
            """SELECT p.id, p.booking_id, p.coaching_booking_id FROM payments p
            WHERE p.gateway = :gateway AND (p.gateway_reference = :order_id OR p.id = CAST(:payment_id AS uuid))
            ORDER BY p.gateway_reference IS NOT DISTINCT FROM :order_id DESC LIMIT 1""",
            gateway=gateway,
            order_id=report.order_id,
            payment_id=report.payment_id,
        )
        return _target(row) if row else None

    async def find_received(self, gateway: str, gateway_id: str) -> PaymentTarget | None:
        row = await _first(
            self._session,
            """SELECT p.id, p.booking_id, p.coaching_booking_id FROM payments p
            WHERE p.gateway = :gateway AND p.gateway_payment_id = :gateway_id""",
            gateway=gateway,
            gateway_id=gateway_id,
        )
        return _target(row) if row else None

    async def get(self, payment_id: PaymentId) -> Payment:
        return _found(await _first(self._session, f"{_PAYMENT} WHERE p.id = :id FOR UPDATE", id=payment_id))

    async def get_for(self, payable: PayableRef) -> Payment:
        return _found(await self._row_for(payable))

    async def find_for(self, payable: PayableRef) -> Payment | None:
        row = await self._row_for(payable)
        return _payment(row) if row else None

    async def _row_for(self, payable: PayableRef) -> RowMapping | None:
        return await _first(
            self._session,
            f"{_PAYMENT} WHERE p.{column_of(payable)} = :payable_id ORDER BY p.id DESC LIMIT 1 FOR UPDATE",
            payable_id=payable.id,
        )

    async def add_for_appointments(self, appointments: Sequence[Appointment], gateway: str, now: datetime) -> None:
        await _run(
            self._session,
            """INSERT INTO payments (coaching_booking_id, gateway, amount, currency, status, created_at)
            SELECT id, :gateway, price, currency, 'pending', :now FROM coaching_bookings
            WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY array_position(CAST(:ids AS uuid[]), id)""",
            ids=[appointment.id for appointment in appointments],
            gateway=gateway,
            now=now,
        )

    async def save(self, payment: Payment, *, received_at: datetime | None = None) -> None:
        await _run(
            self._session,
            """UPDATE payments SET status = :status, gateway_reference = :order_id, gateway_payment_id = :gateway_id,
                refunded = :refunded, received_at = coalesce(:received_at, received_at) WHERE id = :id""",
            id=payment.id,
            status=payment.status,
            order_id=payment.order_id,
            gateway_id=payment.gateway_id,
            refunded=payment.refunded.amount,
            received_at=received_at,
        )

    async def add_paid_on_the_spot(self, payment: Payment, now: datetime) -> None:
        await _run(
            self._session,
            f"""INSERT INTO payments ({column_of(payment.payable)}, gateway, amount, currency, status, created_at,
                received_at)
            VALUES (:payable_id, 'offline', :amount, :currency, 'completed', :now, :now)""",  # noqa: S608
            payable_id=payment.payable.id,
            amount=payment.price.amount,
            currency=payment.price.currency,
            now=now,
        )

    async def record_mismatch(
        self, gateway: str, report: GatewayUpdate, payment_id: PaymentId | None, why: str
    ) -> None:
        await _run(
            self._session,
            """INSERT INTO payment_differences (gateway, order_id, payment_id, why, report, seen_at)
            VALUES (:gateway, :order_id, :payment_id, :why, CAST(:report AS jsonb), now()) ON CONFLICT DO NOTHING""",
            gateway=gateway,
            order_id=report.order_id or "",
            payment_id=payment_id,
            why=why,
            report=_json(report),
        )


class PostgresRefunds:
    """A requested refund is added with the job that sends it to the gateway."""

    def __init__(self, session: AsyncSession, messages: PostgresMessages) -> None:
        self._session = session
        self._messages = messages
        self._requested: list[Refund] = []

    @property
    def requested(self) -> Sequence[Refund]:
        return self._requested

    async def add(self, payment: Payment, amount: Money, *, reason: str, by: UserId | None, now: datetime) -> Refund:
        refund = await self._add(payment, amount, "pending", reason=reason, by=by, now=now)
        await self._request([refund])
        return refund

    async def add_processed(
        self, payment: Payment, amount: Money, gateway_refund_id: str | None, *, reason: str, now: datetime
    ) -> Refund:
        values = {"gateway_refund_id": gateway_refund_id, "settled_at": now}
        return await self._add(payment, amount, "processed", reason=reason, now=now, **values)

    async def _add(self, payment: Payment, amount: Money, status: str, *, reason: str, **values: Any) -> Refund:
        row = await _first(
            self._session,
            """INSERT INTO refunds (payment_id, amount, currency, reason, status, requested_at, requested_by,
                gateway_refund_id, settled_at)
            VALUES (:payment_id, :amount, :currency, :reason, :status, :now, :by, :gateway_refund_id, :settled_at)
            RETURNING id""",
            payment_id=payment.id,
            amount=amount.amount,
            currency=amount.currency,
            reason=reason,
            status=status,
            **{"by": None, "gateway_refund_id": None, "settled_at": None} | values,
        )
        assert row is not None
        refund_id, succeeded = RefundId(row["id"]), _SUCCEEDED[status]
        return Refund(refund_id, payment.id, payment.payable, payment.gateway, amount, reason, succeeded)

    async def add_for_event(
        self, event_id: EventId, *, reason: str, by: UserId | None, now: datetime
    ) -> Sequence[BookingId]:
        """Requests a full refund of every payment received for the event; returns the bookings that are refunded."""
        rows = await self._session.execute(
            text(
                """WITH paid AS (
                    SELECT p.id, p.booking_id, p.gateway, p.amount - p.refunded AS amount, p.currency
                    FROM payments p JOIN bookings b ON b.id = p.booking_id
                    WHERE b.event_id = :event_id AND b.status = 'confirmed' AND p.status = 'completed'
                    ORDER BY p.booking_id FOR UPDATE OF p
                ), requested AS (
                    UPDATE payments SET status = 'refunded', refunded = payments.amount
                    FROM paid WHERE payments.id = paid.id
                ), added AS (
                    INSERT INTO refunds (payment_id, amount, currency, reason, status, requested_at, requested_by)
                    SELECT id, amount, currency, :reason, 'pending', :now, :by FROM paid
                    RETURNING *
                )
                SELECT added.*, paid.booking_id, NULL AS coaching_booking_id, paid.gateway
                FROM added JOIN paid ON paid.id = added.payment_id"""
            ),
            {"event_id": event_id, "reason": reason, "by": by, "now": now},
        )
        refunds = [_refund(row) for row in rows.mappings()]
        await self._request(refunds)
        return [refund.payable.id for refund in refunds if isinstance(refund.payable, BookingRef)]

    async def _request(self, refunds: Sequence[Refund]) -> None:
        self._requested += refunds
        await self._messages.enqueue_refunds(refunds)

    async def get(self, refund_id: RefundId) -> Refund:
        row = await _first(self._session, f"{_REFUND} WHERE r.id = :id FOR UPDATE OF r", id=refund_id)
        if row is None:
            raise PaymentNotFound
        return _refund(row)

    async def find(self, report: RefundUpdate) -> Refund | None:
        row = await _first(
            self._session,
            f"{_REFUND} WHERE r.id = CAST(:id AS uuid) OR r.gateway_refund_id = :gateway_refund_id",
            id=report.refund_id,
            gateway_refund_id=report.gateway_refund_id,
        )
        return _refund(row) if row else None

    async def settle(
        self, refund: Refund, gateway_refund_id: str | None, *, succeeded: bool | None, now: datetime
    ) -> None:
        status = next(status for status, outcome in _SUCCEEDED.items() if outcome is succeeded)
        await _run(
            self._session,
            """UPDATE refunds SET status = CAST(:status AS text),
                gateway_refund_id = coalesce(:gateway_refund_id, gateway_refund_id),
                settled_at = CASE WHEN CAST(:status AS text) = 'pending' THEN NULL ELSE CAST(:now AS timestamptz) END
            WHERE id = :id""",
            id=refund.id,
            status=status,
            gateway_refund_id=gateway_refund_id,
            now=now,
        )


class PostgresGatewayEvents:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, gateway: str, event: GatewayEvent, now: datetime) -> bool:
        added = await _first(
            self._session,
            """INSERT INTO gateway_events (gateway, id, kind, report, payload, received_at)
            VALUES (:gateway, :id, :kind, CAST(:report AS jsonb), CAST(:payload AS jsonb), :now)
            ON CONFLICT DO NOTHING RETURNING id""",
            gateway=gateway,
            id=event.id,
            kind=event.kind,
            report=_json(event.report) if event.report else None,
            payload=msgspec.json.encode(event.payload).decode(),
            now=now,
        )
        return added is not None

    async def report(self, gateway: str, event_id: str) -> tuple[GatewayUpdate | RefundUpdate | None, datetime]:
        row = await _first(
            self._session,
            "SELECT report, received_at FROM gateway_events WHERE gateway = :gateway AND id = :id",
            gateway=gateway,
            id=event_id,
        )
        assert row is not None
        return _report(row["report"]) if row["report"] else None, row["received_at"]

    async def first_arrival(self, gateway: str, order_id: str | None, payment_id: PaymentId) -> datetime | None:
        row = await _first(
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

    async def record_result(self, gateway: str, event_id: str, outcome: str, now: datetime) -> None:
        await _run(
            self._session,
            """UPDATE gateway_events SET settled_at = :now, outcome = :outcome
            WHERE gateway = :gateway AND id = :id""",
            gateway=gateway,
            id=event_id,
            outcome=outcome,
            now=now,
        )


def payable_of(row: Any) -> PayableRef:
    """The payable that a row refers to in one of its two columns."""
    if row["booking_id"] is not None:
        return BookingRef(BookingId(row["booking_id"]))
    return AppointmentRef(AppointmentId(row["coaching_booking_id"]))


def column_of(payable: PayableRef) -> str:
    """The column that refers to the payable."""
    match payable:
        case BookingRef():
            return "booking_id"
        case AppointmentRef():
            return "coaching_booking_id"


async def _first(session: AsyncSession, statement: str, **values: Any) -> RowMapping | None:
    return (await session.execute(text(statement), values)).mappings().first()


async def _run(session: AsyncSession, statement: str, **values: Any) -> None:
    await session.execute(text(statement), values)


def _found(row: RowMapping | None) -> Payment:
    if row is None:
        raise PaymentNotFound
    return _payment(row)


def _target(row: RowMapping) -> PaymentTarget:
    return PaymentTarget(PaymentId(row["id"]), payable_of(row))


def _payment(row: RowMapping) -> Payment:
    return Payment(
        id=PaymentId(row["id"]),
        payable=payable_of(row),
        gateway=row["gateway"],
        price=Money(row["amount"], row["currency"]),
        status=PaymentStatus(row["status"]),
        order_id=row["gateway_reference"],
        gateway_id=row["gateway_payment_id"],
        refunded=Money(row["refunded"], row["currency"]),
    )


def _refund(row: RowMapping) -> Refund:
    return Refund(
        id=RefundId(row["id"]),
        payment_id=PaymentId(row["payment_id"]),
        payable=payable_of(row),
        gateway=row["gateway"],
        amount=Money(row["amount"], row["currency"]),
        reason=row["reason"],
        succeeded=_SUCCEEDED[row["status"]],
    )


def _json(report: GatewayUpdate | RefundUpdate) -> str:
    kind = "refund" if isinstance(report, RefundUpdate) else "payment"
    return msgspec.json.encode({"kind": kind, "report": report}).decode()


def _report(stored: dict[str, Any]) -> GatewayUpdate | RefundUpdate:
    if stored["kind"] == "refund":
        return msgspec.convert(stored["report"], RefundUpdate)
    return msgspec.convert(stored["report"], GatewayUpdate)
