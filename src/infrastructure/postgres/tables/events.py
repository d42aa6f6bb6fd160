"""Tables of events."""

from datetime import datetime
from decimal import Decimal

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NOW, identity

_ACTIVE = "status = 'active' AND hidden_at IS NULL"
_AHEAD = text(f"{_ACTIVE} AND completed_at IS NULL")
_CANCELLED = text("status = 'cancelled' AND hidden_at IS NULL")


class EventRow(DefaultBase):
    __tablename__ = "events"

    id: Mapped[int] = identity()
    facilitator_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    title: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    event_type: Mapped[str] = mapped_column(Text)
    category: Mapped[str | None] = mapped_column(Text)
    starts_at: Mapped[datetime] = mapped_column(INSTANT)
    ends_at: Mapped[datetime] = mapped_column(INSTANT)
    location: Mapped[str | None] = mapped_column(Text)
    virtual_link: Mapped[str | None] = mapped_column(Text)
    capacity: Mapped[int]
    booked: Mapped[int] = mapped_column(server_default=text("0"))
    price: Mapped[Decimal] = mapped_column(Numeric(16, 4))
    currency: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="active")
    revision: Mapped[int] = mapped_column(server_default=text("0"))
    version: Mapped[int] = mapped_column(server_default=text("1"))
    refund_policy: Mapped[list[list[int]]] = mapped_column(JSONB, server_default=text("'[[0, 100]]'::jsonb"))
    schedule_revision: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW)
    deleted_at: Mapped[datetime | None] = mapped_column("hidden_at", INSTANT)
    completed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    updated_at: Mapped[datetime | None] = mapped_column(INSTANT)
    facilitator_active: Mapped[bool] = mapped_column(server_default=text("true"))
    """A copy of the facilitator's `is_active`, which a booking reads after it has waited for this row."""

    __table_args__ = (
        CheckConstraint("booked BETWEEN 0 AND capacity", name="never_oversold"),
        CheckConstraint("capacity > 0", name="capacity"),
        CheckConstraint("ends_at > starts_at", name="interval"),
        CheckConstraint("price >= 0", name="price"),
        CheckConstraint("event_type IN ('session', 'workshop', 'retreat')", name="event_type"),
        CheckConstraint("status IN ('active', 'cancelled')", name="status"),
        Index("ix_events_to_complete", "ends_at", postgresql_where=text("completed_at IS NULL")),
        Index(
            "ix_events_search",
            text("search_vector((((title || ' '::text) || description) || ' '::text) || COALESCE(category, ''::text))"),
            postgresql_using="gin",
        ),
        Index("ix_events_upcoming", "starts_at", "id", postgresql_where=text("hidden_at IS NULL")),
        Index("ix_events_ahead", "starts_at", "id", postgresql_where=_AHEAD),
        Index("ix_events_ahead_type", text("lower(event_type)"), "starts_at", "id", postgresql_where=_AHEAD),
        Index("ix_events_ahead_category", text("lower(category)"), "starts_at", "id", postgresql_where=_AHEAD),
        Index("ix_events_ahead_facilitator", "facilitator_id", "starts_at", "id", postgresql_where=_AHEAD),
        Index("ix_events_cancelled", "starts_at", "id", postgresql_where=_CANCELLED),
        Index("ix_events_cancelled_type", text("lower(event_type)"), "starts_at", "id", postgresql_where=_CANCELLED),
        Index("ix_events_cancelled_category", text("lower(category)"), "starts_at", "id", postgresql_where=_CANCELLED),
        Index("ix_events_facilitator_end", "facilitator_id", "ends_at", postgresql_where=text(_ACTIVE)),
        Index(
            "ix_events_facilitator_long",
            "facilitator_id",
            "ends_at",
            postgresql_where=text(f"{_ACTIVE} AND ends_at - starts_at > interval '24 hours'"),
        ),
        Index(
            "ix_events_of_facilitator", "facilitator_id", "starts_at", "id", postgresql_where=text("hidden_at IS NULL")
        ),
    )


class ReviewRow(DefaultBase):
    __tablename__ = "reviews"

    id: Mapped[int] = identity()
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    rating: Mapped[int]
    comment: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)

    __table_args__ = (
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
        UniqueConstraint("event_id", "user_id", name="uq_reviews_one_each"),
        Index("ix_reviews_event_id", "event_id", "id"),
    )
