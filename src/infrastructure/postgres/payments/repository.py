"""Payments, inside a unit of work."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from application.payments.ports.records import PaymentTarget
from domain.appointments import Appointment
from domain.disputes import DisputeStatus
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef, PayableRef
from domain.money import Money
from domain.payments import (
    GatewayUpdate,
    Payment,
    PaymentId,
    PaymentNotFound,
    PaymentStatus,
)

log = structlog.stdlib.get_logger("convene.payments")

_PAYMENT = "SELECT p.* FROM payments p"


class PostgresPayments:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find_payable(self, gateway: str, report: GatewayUpdate) -> PaymentTarget | None:
        row = await first(
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
        row = await first(
            self._session,
            """SELECT p.id, p.booking_id, p.coaching_booking_id FROM payments p
            WHERE p.gateway = :gateway AND p.gateway_payment_id = :gateway_id""",
            gateway=gateway,
            gateway_id=gateway_id,
        )
        return _target(row) if row else None

    async def get(self, payment_id: PaymentId) -> Payment:
        return _found(await first(self._session, f"{_PAYMENT} WHERE p.id = :id FOR UPDATE", id=payment_id))

    async def get_for(self, payable: PayableRef) -> Payment:
        return _found(await self._row_for(payable))

    async def find_for(self, payable: PayableRef) -> Payment | None:
        row = await self._row_for(payable)
        return payment_of(row) if row else None

    async def _row_for(self, payable: PayableRef) -> RowMapping | None:
        return await first(
            self._session,
            f"{_PAYMENT} WHERE p.{column_of(payable)} = :payable_id ORDER BY p.id DESC LIMIT 1 FOR UPDATE",
            payable_id=payable.id,
        )

    async def add_for_appointments(self, appointments: Sequence[Appointment], gateway: str, now: datetime) -> None:
        await run(
            self._session,
            """INSERT INTO payments (coaching_booking_id, gateway, amount, currency, status, created_at)
            SELECT id, :gateway, price, currency, 'pending', :now FROM coaching_bookings
            WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY array_position(CAST(:ids AS uuid[]), id)""",
            ids=[appointment.id for appointment in appointments],
            gateway=gateway,
            now=now,
        )

    async def save(self, payment: Payment, *, received_at: datetime | None = None) -> None:
        await run(
            self._session,
            """UPDATE payments SET status = :status, gateway_reference = :order_id, gateway_payment_id = :gateway_id,
                refunded = :refunded, received_at = coalesce(:received_at, received_at), dispute = :dispute,
                charged_back = :charged_back, refunds_wait = :refunds_wait WHERE id = :id""",
            id=payment.id,
            status=payment.status,
            order_id=payment.order_id,
            gateway_id=payment.gateway_id,
            refunded=payment.refunded.amount,
            received_at=received_at,
            dispute=payment.dispute,
            charged_back=payment.charged_back,
            refunds_wait=payment.refunds_wait,
        )

    async def add_paid_on_the_spot(self, payment: Payment, now: datetime) -> None:
        await run(
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
        added = await first(
            self._session,
            """INSERT INTO payment_differences (gateway, order_id, payment_id, why, report, seen_at)
            VALUES (:gateway, :order_id, :payment_id, :why, CAST(:report AS jsonb), now()) ON CONFLICT DO NOTHING
            RETURNING id""",
            gateway=gateway,
            order_id=report.order_id or "",
            payment_id=payment_id,
            why=why,
            report=msgspec.json.encode({"kind": "payment", "report": report}).decode(),
        )
        if added is not None:
            log.warning(
                "payment_mismatch", mismatch_id=added["id"], gateway=gateway, payment_id=str(payment_id), reason=why
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


async def first(session: AsyncSession, statement: str, **values: Any) -> RowMapping | None:
    """The first row of a statement with named values."""
    return (await session.execute(text(statement), values)).mappings().first()


async def run(session: AsyncSession, statement: str, **values: Any) -> None:
    """Runs a statement with named values."""
    await session.execute(text(statement), values)


def _found(row: RowMapping | None) -> Payment:
    if row is None:
        raise PaymentNotFound
    return payment_of(row)


def _target(row: RowMapping) -> PaymentTarget:
    return PaymentTarget(PaymentId(row["id"]), payable_of(row))


def payment_of(row: Any) -> Payment:
    """The payment in a row of either driver."""
    return Payment(
        id=PaymentId(row["id"]),
        payable=payable_of(row),
        gateway=row["gateway"],
        price=Money(row["amount"], row["currency"]),
        status=PaymentStatus(row["status"]),
        order_id=row["gateway_reference"],
        gateway_id=row["gateway_payment_id"],
        refunded=Money(row["refunded"], row["currency"]),
        dispute=DisputeStatus(row["dispute"]) if row["dispute"] else None,
        charged_back=row["charged_back"],
        refunds_wait=row["refunds_wait"],
    )
