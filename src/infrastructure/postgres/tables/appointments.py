"""Tables of appointments."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Interval,
    LargeBinary,
    Numeric,
    Text,
    Uuid,
    column,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NEW_UUID, identity

_LIVE = text("status <> 'cancelled'")


class CoachRow(DefaultBase):
    """The hours and rules of a coach. Hours are minutes after midnight of local time in the coach's time zone."""

    __tablename__ = "coaches"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    timezone: Mapped[str] = mapped_column(Text)
    weekly_hours: Mapped[dict[str, Any]] = mapped_column(JSONB)
    date_overrides: Mapped[dict[str, Any]] = mapped_column(JSONB)
    buffer_before: Mapped[timedelta] = mapped_column(Interval)
    buffer_after: Mapped[timedelta] = mapped_column(Interval)
    minimum_notice: Mapped[timedelta] = mapped_column(Interval)
    slot_step: Mapped[timedelta] = mapped_column(Interval)
    bookable_ahead: Mapped[timedelta | None] = mapped_column(Interval)
    price_per_hour: Mapped[Decimal] = mapped_column(Numeric(16, 4))
    currency: Mapped[str] = mapped_column(Text)
    refund_policy: Mapped[list[list[int]]] = mapped_column(JSONB)
    updated_at: Mapped[datetime] = mapped_column(INSTANT)

    __table_args__ = (CheckConstraint("price_per_hour >= 0", name="price_per_hour"),)


class AppointmentRow(DefaultBase):
    """`busy_from` to `busy_until` is the session with the coach's buffers: those of live sessions never overlap."""

    __tablename__ = "coaching_bookings"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    client_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    coach_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    starts_at: Mapped[datetime] = mapped_column(INSTANT)
    ends_at: Mapped[datetime] = mapped_column(INSTANT)
    busy_from: Mapped[datetime] = mapped_column(INSTANT)
    busy_until: Mapped[datetime] = mapped_column(INSTANT)
    status: Mapped[str] = mapped_column(Text)
    payment_status: Mapped[str] = mapped_column(Text)
    price: Mapped[Decimal] = mapped_column(Numeric(16, 4))
    currency: Mapped[str] = mapped_column(Text)
    refund_policy: Mapped[list[list[int]]] = mapped_column(JSONB)
    notes: Mapped[str | None] = mapped_column(Text)
    meeting_link: Mapped[str | None] = mapped_column(Text)
    series_id: Mapped[UUID | None] = mapped_column(Uuid)
    sequence: Mapped[int] = mapped_column(server_default=text("0"))
    hold_until: Mapped[datetime | None] = mapped_column(INSTANT)
    dispute: Mapped[str | None] = mapped_column(Text)
    cancelled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    updated_at: Mapped[datetime] = mapped_column(INSTANT)

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'confirmed', 'completed', 'cancelled')", name="status"),
        CheckConstraint("dispute IN ('open', 'won', 'lost')", name="dispute"),
        CheckConstraint(
            "payment_status IN ('pending', 'completed', 'failed', 'refunded', 'not_required')", name="payment_status"
        ),
        CheckConstraint("price >= 0", name="price"),
        CheckConstraint(
            "cancel_reason IN ('by_person', 'by_coach', 'by_organiser', 'payment_expired')", name="cancel_reason"
        ),
        CheckConstraint("ends_at > starts_at", name="interval"),
        CheckConstraint("busy_from <= starts_at AND busy_until >= ends_at", name="busy"),
        CheckConstraint("(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled_at"),
        ExcludeConstraint(
            (func.int8range(column("coach_id"), column("coach_id"), "[]"), "&&"),
            (func.tstzrange(column("busy_from"), column("busy_until")), "&&"),
            name="ex_coaching_bookings_one_at_a_time",
            where=text("status IN ('pending', 'confirmed')"),
        ),
        Index("ix_coaching_bookings_client_id", "client_id", "starts_at", "id"),
        Index("ix_coaching_bookings_coach_id", "coach_id", "starts_at", "id"),
        Index("ix_coaching_bookings_client_status", "client_id", "status", "starts_at", "id"),
        Index("ix_coaching_bookings_coach_status", "coach_id", "status", "starts_at", "id"),
        Index("ix_coaching_bookings_client_end", "client_id", "ends_at", postgresql_where=_LIVE),
        Index("ix_coaching_bookings_coach_end", "coach_id", "ends_at", postgresql_where=_LIVE),
        Index("ix_coaching_bookings_hold_until", "hold_until", postgresql_where=text("hold_until IS NOT NULL")),
        Index("ix_coaching_bookings_held_by", "client_id", "coach_id", postgresql_where=text("hold_until IS NOT NULL")),
    )


class AppointmentChangeRow(DefaultBase):
    """The history of an appointment, written with each change and never edited."""

    __tablename__ = "coaching_changes"

    id: Mapped[int] = identity()
    booking_id: Mapped[UUID] = mapped_column(ForeignKey("coaching_bookings.id"))
    change: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    changed_at: Mapped[datetime] = mapped_column(INSTANT)
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    after: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (
        Index("ix_coaching_changes_booking_id", "booking_id", "id"),
        Index("ix_coaching_changes_changed_at", "changed_at"),
    )


class AppointmentAttachmentRow(DefaultBase):
    __tablename__ = "coaching_attachments"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    booking_id: Mapped[UUID] = mapped_column(ForeignKey("coaching_bookings.id"))
    uploaded_by: Mapped[int] = mapped_column(ForeignKey("users.id"))
    filename: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(Text)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(INSTANT)

    __table_args__ = (
        Index("ix_coaching_attachments_booking_id", "booking_id", "id"),
        Index("ix_coaching_attachments_uploaded_by", "uploaded_by"),
    )
