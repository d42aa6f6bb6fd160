"""Tables of payments."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NEW_UUID, identity


class PaymentRow(DefaultBase):
    __tablename__ = "payments"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    booking_id: Mapped[int | None] = mapped_column(ForeignKey("bookings.id"), index=True)
    coaching_booking_id: Mapped[UUID | None] = mapped_column(ForeignKey("coaching_bookings.id"))
    gateway: Mapped[str] = mapped_column(Text)
    amount: Mapped[Decimal] = mapped_column(Numeric(16, 4))
    currency: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    gateway_payment_id: Mapped[str | None] = mapped_column(Text)
    gateway_reference: Mapped[str | None] = mapped_column(Text)
    checkout_url: Mapped[str | None] = mapped_column(Text)
    return_url: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    refunded: Mapped[Decimal] = mapped_column(Numeric(16, 4), server_default=text("0"))
    received_at: Mapped[datetime | None] = mapped_column(INSTANT)
    looked_up_at: Mapped[datetime | None] = mapped_column(INSTANT)
    look_ups: Mapped[int] = mapped_column(server_default=text("0"))
    dispute: Mapped[str | None] = mapped_column(Text)
    charged_back: Mapped[Decimal] = mapped_column(Numeric(16, 4), server_default=text("0"))
    refunds_wait: Mapped[bool] = mapped_column(server_default=text("false"))

    __table_args__ = (
        CheckConstraint("dispute IN ('open', 'won', 'lost')", name="dispute"),
        CheckConstraint("charged_back BETWEEN 0 AND amount", name="charged_back"),
        Index(
            "ix_payments_gateway_payment_id",
            "gateway_payment_id",
            postgresql_where=text("gateway_payment_id IS NOT NULL"),
        ),
        Index("ix_payments_dispute", "dispute", "id", postgresql_where=text("dispute IS NOT NULL")),
        CheckConstraint("num_nonnulls(booking_id, coaching_booking_id) = 1", name="of_one_booking"),
        Index(
            "ix_payments_coaching_booking_id",
            "coaching_booking_id",
            postgresql_where=text("coaching_booking_id IS NOT NULL"),
        ),
        CheckConstraint("refunded BETWEEN 0 AND amount", name="refunded"),
        UniqueConstraint("gateway", "gateway_reference", name="uq_payments_order"),
        Index("ix_payments_status", "status", "id"),
        Index("ix_payments_open", "created_at", postgresql_where=text("status IN ('pending', 'failed')")),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("status IN ('pending', 'completed', 'failed', 'refunded')", name="status"),
    )


class RefundRow(DefaultBase):
    """A refund; `pending` until the gateway has paid it or has failed finally."""

    __tablename__ = "refunds"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    payment_id: Mapped[UUID] = mapped_column(ForeignKey("payments.id"), index=True)
    amount: Mapped[Decimal] = mapped_column(Numeric(16, 4))
    currency: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    gateway_refund_id: Mapped[str | None] = mapped_column(Text, unique=True)
    requested_at: Mapped[datetime] = mapped_column(INSTANT)
    settled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    requested_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    ended_by: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("status IN ('pending', 'processed', 'failed')", name="status"),
        Index("ix_refunds_open", "requested_at", postgresql_where=text("status IN ('pending', 'failed')")),
    )


class DisputeRow(DefaultBase):
    """A dispute about a payment, in its latest state."""

    __tablename__ = "disputes"

    gateway: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    payment_id: Mapped[UUID] = mapped_column(ForeignKey("payments.id"), index=True)
    amount: Mapped[Decimal] = mapped_column(Numeric(16, 4))
    currency: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    is_inquiry: Mapped[bool]
    reason: Mapped[str | None] = mapped_column(Text)
    opened_at: Mapped[datetime] = mapped_column(INSTANT)
    changed_at: Mapped[datetime] = mapped_column(INSTANT)

    __table_args__ = (CheckConstraint("status IN ('open', 'won', 'lost')", name="status"),)


class GatewayEventRow(DefaultBase):
    """The webhook inbox: each webhook is stored once and never deleted; its `payload` is emptied after a time."""

    __tablename__ = "gateway_events"

    gateway: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    received_at: Mapped[datetime] = mapped_column(INSTANT)
    settled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    outcome: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index(
            "ix_gateway_events_unsettled", "gateway", postgresql_where=text("settled_at IS NULL AND report IS NOT NULL")
        ),
        Index(
            "ix_gateway_events_payload",
            text("coalesce(settled_at, received_at)"),
            postgresql_where=text("payload <> '{}'::jsonb AND (settled_at IS NOT NULL OR report IS NULL)"),
        ),
    )


class PaymentMismatchRow(DefaultBase):
    """A gateway's update that does not match a request. It changes nothing; an operator settles it."""

    __tablename__ = "payment_differences"

    id: Mapped[int] = identity()
    gateway: Mapped[str] = mapped_column(Text)
    order_id: Mapped[str] = mapped_column(Text)
    payment_id: Mapped[UUID | None] = mapped_column(ForeignKey("payments.id"))
    why: Mapped[str] = mapped_column(Text)
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)
    seen_at: Mapped[datetime] = mapped_column(INSTANT)
    settled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    settled_note: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("gateway", "order_id", "why", name="uq_payment_differences_why"),
        Index("ix_payment_differences_open", "id", postgresql_where=text("settled_at IS NULL")),
    )


class SandboxOrderRow(DefaultBase):
    """An order of the sandbox gateway, which stores its data apart from payments, as a real gateway does."""

    __tablename__ = "sandbox_orders"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    payment_id: Mapped[UUID] = mapped_column(Uuid, unique=True)
    title: Mapped[str] = mapped_column(Text)
    amount: Mapped[Decimal] = mapped_column(Numeric(16, 4))
    currency: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    refunds: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    dispute: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("state IN ('open', 'paid', 'declined', 'expired')", name="state"),
        Index("ix_sandbox_orders_created_at", "created_at"),
        CheckConstraint("dispute IN ('open', 'won', 'lost')", name="dispute"),
    )
