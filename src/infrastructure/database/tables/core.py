"""People, events, bookings, money, and what is owed."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.database.tables.columns import INSTANT, NEW_UUID, NOW, identity


class UserRow(DefaultBase):
    __tablename__ = "users"

    id: Mapped[int] = identity()
    uuid: Mapped[UUID] = mapped_column(Uuid, unique=True, server_default=NEW_UUID)
    email: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    phone: Mapped[str | None] = mapped_column(Text)
    timezone: Mapped[str | None] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    is_verified: Mapped[bool] = mapped_column(server_default=text("false"))
    token_version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW)
    google_id: Mapped[str | None] = mapped_column(Text, unique=True)
    profile_picture: Mapped[str | None] = mapped_column(Text)
    requested_role: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("role IN ('user', 'facilitator', 'admin')", name="role"),
        CheckConstraint("requested_role = 'facilitator'", name="requested_role"),
        Index(
            "ix_users_search",
            text("search_vector(name)"),
            postgresql_using="gin",
            postgresql_where=text("role <> 'user'"),
        ),
    )


class FacilitatorProfileRow(DefaultBase):
    """`rating_sum` and `rating_count` are kept with each review, so that a list of events reads them in one query."""

    __tablename__ = "facilitator_profiles"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    bio: Mapped[str | None] = mapped_column(Text)
    specialization: Mapped[str | None] = mapped_column(Text)
    rating_sum: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    rating_count: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW)


class OAuthAttemptRow(DefaultBase):
    """A sign-in that was sent to an identity provider. `state` and `browser` are fingerprints; it is used once."""

    __tablename__ = "oauth_attempts"

    state: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    browser: Mapped[bytes] = mapped_column(LargeBinary)
    nonce: Mapped[str] = mapped_column(Text)
    verifier: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(INSTANT, index=True)


class LoginRow(DefaultBase):
    """One login is one family of refresh tokens; when it ends, every token of it is dead."""

    __tablename__ = "logins"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    started_at: Mapped[datetime] = mapped_column(INSTANT)
    ended_at: Mapped[datetime | None] = mapped_column(INSTANT)
    end_reason: Mapped[str | None] = mapped_column(Text)


class RefreshTokenRow(DefaultBase):
    __tablename__ = "refresh_tokens"

    fingerprint: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    login_id: Mapped[UUID] = mapped_column(ForeignKey("logins.id"), index=True)
    expires_at: Mapped[datetime] = mapped_column(INSTANT, index=True)
    retired_at: Mapped[datetime | None] = mapped_column(INSTANT)


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
    hidden_at: Mapped[datetime | None] = mapped_column(INSTANT)
    completed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    updated_at: Mapped[datetime | None] = mapped_column(INSTANT)
    facilitator_active: Mapped[bool] = mapped_column(server_default=text("true"))
    """A copy of the facilitator's `is_active`: what a booking that waits for this row sees when it gets it."""

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
    )


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
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    cancelled_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    price: Mapped[Decimal | None] = mapped_column(Numeric(16, 4))
    currency: Mapped[str | None] = mapped_column(Text)
    refund_policy: Mapped[list[list[int]] | None] = mapped_column(JSONB)
    schedule_revision: Mapped[int] = mapped_column(server_default=text("0"))

    __table_args__ = (
        CheckConstraint(
            "cancel_reason IN ('by_person', 'by_organiser', 'event_cancelled', 'payment_expired')",
            name="cancel_reason",
        ),
        Index("ix_bookings_hold_until", "hold_until", postgresql_where=text("hold_until IS NOT NULL")),
        Index("ix_bookings_held_by", "user_id", postgresql_where=text("hold_until IS NOT NULL")),
        CheckConstraint("status IN ('confirmed', 'cancelled', 'completed')", name="status"),
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
    )


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

    __table_args__ = (
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
    """Money promised back; `pending` until the gateway has given it back or has refused for good."""

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

    __table_args__ = (
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("status IN ('pending', 'processed', 'failed')", name="status"),
        Index("ix_refunds_open", "requested_at", postgresql_where=text("status IN ('pending', 'failed')")),
    )


class GatewayEventRow(DefaultBase):
    """The inbox of webhooks: each is kept once, for good."""

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
    )


class PaymentDifferenceRow(DefaultBase):
    """What a gateway says and we did not ask for. Never acted on; an operator looks at it."""

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
    """The books of the sandbox gateway, which is no part of ours."""

    __tablename__ = "sandbox_orders"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    payment_id: Mapped[UUID] = mapped_column(Uuid, unique=True)
    title: Mapped[str] = mapped_column(Text)
    amount: Mapped[Decimal] = mapped_column(Numeric(16, 4))
    currency: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    refunds: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(INSTANT)

    __table_args__ = (CheckConstraint("state IN ('open', 'paid', 'declined', 'expired')", name="state"),)


class OutboxRow(DefaultBase):
    """One thing owed to one destination. `due_at` is also the lease: a claim moves it ahead."""

    __tablename__ = "outbox"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    destination: Mapped[str] = mapped_column(Text)
    lane: Mapped[str] = mapped_column(Text)
    fact: Mapped[str] = mapped_column(Text)
    snapshot: Mapped[dict[str, Any]] = mapped_column(JSONB)
    request_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    occurred_at: Mapped[datetime] = mapped_column(INSTANT)
    due_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW)
    claimed_by: Mapped[UUID | None] = mapped_column(Uuid)
    settled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    last_error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'delivered', 'dead', 'discarded')", name="status"),
        Index("ix_outbox_due", "destination", "due_at", "seq", postgresql_where=text("status = 'pending'")),
        Index("ix_outbox_lane", "destination", "lane", "seq", postgresql_where=text("status = 'pending'")),
        Index("ix_outbox_dead", "seq", postgresql_where=text("status = 'dead'")),
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
