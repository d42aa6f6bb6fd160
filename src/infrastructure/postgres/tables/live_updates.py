"""Table of live updates."""

from datetime import datetime
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import ForeignKey, Index, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NOW, identity


class FeedEntryRow(DefaultBase):
    """One live update. The ids of one facilitator grow in the order in which the rows become visible."""

    __tablename__ = "feed_entries"

    id: Mapped[int] = identity()
    facilitator_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    message_id: Mapped[UUID] = mapped_column(Uuid, unique=True)
    message_type: Mapped[str] = mapped_column("fact", Text)
    payload: Mapped[dict[str, Any]] = mapped_column("told", JSONB)
    occurred_at: Mapped[datetime] = mapped_column(INSTANT)
    recorded_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW, index=True)

    __table_args__ = (Index("ix_feed_entries_facilitator_id", "facilitator_id", "id"),)
