"""Tables of bookings."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Numeric,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NEW_UUID, identity


class BookingRow(DefaultBase):
    __tablename__ = "bookings"

    id: Mapped[int] = identity()
    reference: Mapped[str] = mapped_column(
        Text,
        Computed(
            "'BK' || extract(year FROM created_at AT TIME ZONE 'UTC')::int::text "
            "|| lpad(id::text, greatest(6, length(id::text)), '0')",
            persisted=True,
        ),
        unique=True,
    )
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(Text)
    payment_status: Mapped[str] = mapped_column(Text)
    notes: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    cancelled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    hold_until: Mapped[datetime | None] = mapped_column(INSTANT)
    dispute: Mapped[str | None] = mapped_column(Text)
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    cancelled_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    price: Mapped[Decimal | None] = mapped_column(Numeric(16, 4))
    currency: Mapped[str | None] = mapped_column(Text)
    refund_policy: Mapped[list[list[int]] | None] = mapped_column(JSONB)
    schedule_revision: Mapped[int] = mapped_column(server_default=text("0"))
    facilitator_id: Mapped[int | None] = mapped_column(BigInteger)
    """A copy of the event's, by which a facilitator's bookings are listed. Null in a row that an older version wrote,
    until a worker fills it in."""

    __table_args__ = (
        CheckConstraint(
            "cancel_reason IN ('by_person', 'by_organiser', 'event_cancelled', 'payment_expired')",
            name="cancel_reason",
        ),
        Index("ix_bookings_hold_until", "hold_until", postgresql_where=text("hold_until IS NOT NULL")),
        Index("ix_bookings_held_by", "user_id", postgresql_where=text("hold_until IS NOT NULL")),
        CheckConstraint("status IN ('confirmed', 'cancelled', 'completed')", name="status"),
        CheckConstraint("dispute IN ('open', 'won', 'lost')", name="dispute"),
        CheckConstraint(
            "payment_status IN ('pending', 'completed', 'failed', 'refunded', 'not_required')", name="payment_status"
        ),
        CheckConstraint("(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled_at"),
        Index(
            "uq_bookings_one_live_place",
            "event_id",
            "user_id",
            unique=True,
            postgresql_where=text("status <> 'cancelled'"),
        ),
        Index("ix_bookings_event_id", "event_id", "id"),
        Index("ix_bookings_user_id", "user_id", "id"),
        Index("ix_bookings_facilitator_id", "facilitator_id", "id"),
        Index("ix_bookings_without_facilitator", "id", postgresql_where=text("facilitator_id IS NULL")),
    )


class InvitationRow(DefaultBase):
    """A seat that is held until the person answers. The secret of its link is derived and not stored."""

    __tablename__ = "invitations"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"))
    name: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    invited_by: Mapped[int] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    expires_at: Mapped[datetime] = mapped_column(INSTANT)
    answered_at: Mapped[datetime | None] = mapped_column(INSTANT)
    booking_id: Mapped[int | None] = mapped_column(ForeignKey("bookings.id"))

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'confirmed', 'declined', 'expired', 'withdrawn')", name="status"),
        CheckConstraint("(status = 'pending') = (answered_at IS NULL)", name="answered_at"),
        CheckConstraint("(status = 'confirmed') = (booking_id IS NOT NULL)", name="booking_id"),
        Index(
            "uq_invitations_one_pending",
            "event_id",
            "email",
            unique=True,
            postgresql_where=text("status = 'pending'"),
        ),
        Index("ix_invitations_event_id", "event_id", "id"),
        Index("ix_invitations_pending", "expires_at", postgresql_where=text("status = 'pending'")),
        Index("ix_invitations_answered", "answered_at", postgresql_where=text("status <> 'pending'")),
    )
