"""Tables of the outbox."""

from datetime import datetime
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NEW_UUID, NOW, identity


class OutboxRow(DefaultBase):
    """One message to one destination. `due_at` is also the lease: a claim moves it ahead. `held_for`: the address whose
    verification it waits for, or has waited for."""

    __tablename__ = "outbox"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    destination: Mapped[str] = mapped_column(Text)
    ordering_key: Mapped[str] = mapped_column("lane", Text)
    message_type: Mapped[str] = mapped_column("fact", Text)
    payload: Mapped[dict[str, Any]] = mapped_column("snapshot", JSONB)
    request_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    occurred_at: Mapped[datetime] = mapped_column(INSTANT)
    due_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW)
    claimed_by: Mapped[UUID | None] = mapped_column(Uuid)
    settled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    last_error: Mapped[str | None] = mapped_column(Text)
    held_for: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'delivered', 'dead', 'discarded', 'held')", name="status"),
        CheckConstraint("status <> 'held' OR held_for IS NOT NULL", name="held_for"),
        Index("ix_outbox_held", "held_for", "seq", postgresql_where=text("status = 'held'")),
        Index("ix_outbox_held_settled", "settled_at", postgresql_where=text("status = 'held'")),
        Index("ix_outbox_due", "destination", "due_at", "seq", postgresql_where=text("status = 'pending'")),
        Index("ix_outbox_lane", "destination", "lane", "seq", postgresql_where=text("status = 'pending'")),
        Index("ix_outbox_dead", "seq", postgresql_where=text("status = 'dead'")),
        Index(
            "ix_outbox_dead_settled",
            "settled_at",
            postgresql_where=text("status = 'dead' AND destination <> 'payments'"),
        ),
        Index("ix_outbox_listed", "destination", "status", "id"),
        Index("ix_outbox_settled", "settled_at", postgresql_where=text("status IN ('delivered', 'discarded')")),
    )


class DeliveryAttemptRow(DefaultBase):
    __tablename__ = "delivery_attempts"

    id: Mapped[int] = identity()
    message_id: Mapped[UUID] = mapped_column(ForeignKey("outbox.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(INSTANT)
    took_ms: Mapped[int]
    result: Mapped[str] = mapped_column(Text)
    status_code: Mapped[int | None]
    detail: Mapped[str] = mapped_column(Text)
    probe: Mapped[bool] = mapped_column(server_default=text("false"))

    __table_args__ = (CheckConstraint("result IN ('delivered', 'failed')", name="result"),)


class ChangeMailRow(DefaultBase):
    """A mail about changes of an event or an appointment that waits until `due_at` for further ones, since the first
    one at `since`. `before`: what its calendar entry showed before the first change. `shown`: what the last other mail
    has shown since then."""

    __tablename__ = "change_mails"

    id: Mapped[int] = identity()
    booking_id: Mapped[int | None] = mapped_column(ForeignKey("bookings.id"))
    coaching_booking_id: Mapped[UUID | None] = mapped_column(ForeignKey("coaching_bookings.id"))
    before: Mapped[dict[str, Any]] = mapped_column(JSONB)
    shown: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    reason: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(INSTANT)
    due_at: Mapped[datetime] = mapped_column(INSTANT)

    __table_args__ = (
        CheckConstraint("num_nonnulls(booking_id, coaching_booking_id) = 1", name="of_one_booking"),
        Index("uq_change_mails_booking_id", "booking_id", unique=True),
        Index("uq_change_mails_coaching_booking_id", "coaching_booking_id", unique=True),
        Index("ix_change_mails_due_at", "due_at"),
    )


class DestinationRow(DefaultBase):
    """Pause, halt and circuit breaker of a destination; without a row deliveries are not restricted. While the circuit
    is open, one message may be sent at `probe_at`; a halt lasts until an operator ends it. `reason` is the latest
    cause."""

    __tablename__ = "destinations"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    tripped_at: Mapped[datetime | None] = mapped_column(INSTANT)
    probe_at: Mapped[datetime | None] = mapped_column(INSTANT)
    paused_until: Mapped[datetime | None] = mapped_column(INSTANT)
    halted_at: Mapped[datetime | None] = mapped_column(INSTANT)
    reason: Mapped[str | None] = mapped_column(Text)


class DestinationMinuteRow(DefaultBase):
    """Attempts in one minute that count for their destination. Sharded, because a counter stays locked until its
    transaction is on disk."""

    __tablename__ = "destination_minutes"

    destination: Mapped[str] = mapped_column(Text, primary_key=True)
    minute: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    attempts: Mapped[int]
    failures: Mapped[int]


class DeliveryCountRow(DefaultBase):
    """Number of deliveries by result. It only grows, as a Prometheus counter must."""

    __tablename__ = "delivery_counts"

    destination: Mapped[str] = mapped_column(Text, primary_key=True)
    what: Mapped[str] = mapped_column(Text, primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("what IN ('delivered', 'failed', 'dead', 'rescued')", name="what"),)
