"""Seats held for people whom facilitators added by hand."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.database.tables.columns import INSTANT, NEW_UUID


class InvitationRow(DefaultBase):
    """A seat that is held until the person answers. The secret of its link is derived, and stored nowhere."""

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
