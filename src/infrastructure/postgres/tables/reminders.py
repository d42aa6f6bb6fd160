"""Table of reminders."""

from datetime import datetime, timedelta
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import CheckConstraint, ForeignKey, Index, Interval, Text, UniqueConstraint, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NEW_UUID


class ReminderRow(DefaultBase):
    """One reminder of one person, `before` the planned start of the booking."""

    __tablename__ = "reminders"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    booking_id: Mapped[int | None] = mapped_column(ForeignKey("bookings.id"))
    coaching_booking_id: Mapped[UUID | None] = mapped_column(ForeignKey("coaching_bookings.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    before: Mapped[timedelta] = mapped_column(Interval)
    starts_at: Mapped[datetime] = mapped_column(INSTANT)
    due_at: Mapped[datetime] = mapped_column(INSTANT)
    status: Mapped[str] = mapped_column(Text, server_default="planned")
    reason: Mapped[str | None] = mapped_column(Text)
    settled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    message_id: Mapped[UUID | None] = mapped_column(Uuid)
    """The message with its e-mail; null after the message was deleted."""

    __table_args__ = (
        CheckConstraint("status IN ('planned', 'queued', 'sent', 'skipped')", name="status"),
        CheckConstraint("(status = 'skipped') = (reason IS NOT NULL)", name="reason"),
        CheckConstraint("num_nonnulls(booking_id, coaching_booking_id) = 1", name="of_one_booking"),
        UniqueConstraint(
            "booking_id",
            "coaching_booking_id",
            "user_id",
            "before",
            "starts_at",
            name="uq_reminders_once",
            postgresql_nulls_not_distinct=True,
        ),
        Index("ix_reminders_due", "due_at", postgresql_where=text("status = 'planned'")),
        Index("ix_reminders_starts_at", "starts_at", postgresql_where=text("status <> 'planned'")),
        Index(
            "ix_reminders_coaching_booking_id",
            "coaching_booking_id",
            postgresql_where=text("coaching_booking_id IS NOT NULL"),
        ),
    )
