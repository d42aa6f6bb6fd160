"""Tables of calendars."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NEW_UUID, NOW


class CalendarConnectionRow(DefaultBase):
    """`tokens` is encrypted for this row and cannot be decrypted in another one."""

    __tablename__ = "calendar_connections"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    provider: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    tokens: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(INSTANT)
    connected_at: Mapped[datetime] = mapped_column(INSTANT)
    busy_read_at: Mapped[datetime | None] = mapped_column(INSTANT)
    busy_due_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW)
    refreshing_until: Mapped[datetime | None] = mapped_column(INSTANT)
    last_error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("provider IN ('google', 'outlook')", name="provider"),
        CheckConstraint("status IN ('active', 'reconnect')", name="status"),
        UniqueConstraint("user_id", "provider", name="uq_calendar_connections_one_each"),
        Index("ix_calendar_connections_busy_due", "busy_due_at", postgresql_where=text("status = 'active'")),
    )


class CalendarBusyRow(DefaultBase):
    """A busy time of a connected calendar, as last read."""

    __tablename__ = "calendar_busy"

    connection_id: Mapped[UUID] = mapped_column(
        ForeignKey("calendar_connections.id", ondelete="CASCADE"), primary_key=True
    )
    starts_at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    ends_at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)


class CalendarEntryRow(DefaultBase):
    """The entry of a booking in a connected calendar, as last written."""

    __tablename__ = "calendar_entries"

    connection_id: Mapped[UUID] = mapped_column(
        ForeignKey("calendar_connections.id", ondelete="CASCADE"), primary_key=True
    )
    booking_id: Mapped[UUID] = mapped_column(ForeignKey("coaching_bookings.id"), primary_key=True, index=True)
    entry_id: Mapped[str] = mapped_column(Text)
    starts_at: Mapped[datetime] = mapped_column(INSTANT)
    ends_at: Mapped[datetime] = mapped_column(INSTANT)
    meeting_link: Mapped[str | None] = mapped_column(Text)
    sequence: Mapped[int]
    put_at: Mapped[datetime] = mapped_column(INSTANT)


class CalendarFeedRow(DefaultBase):
    """The secret address of an account's calendar feed, as a hash."""

    __tablename__ = "calendar_feeds"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(INSTANT)


class CalendarIdentityRow(DefaultBase):
    """The domain after the `@` in the UIDs of calendar entries."""

    __tablename__ = "calendar_identity"

    only_row: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    uid_domain: Mapped[str] = mapped_column(Text)

    __table_args__ = (CheckConstraint("only_row", name="only_row"),)
