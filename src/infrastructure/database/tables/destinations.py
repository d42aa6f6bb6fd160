"""What is known of the destinations of messages."""

from datetime import datetime

from advanced_alchemy.base import DefaultBase
from sqlalchemy import SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.database.tables.columns import INSTANT


class DestinationRow(DefaultBase):
    """What keeps a destination from being delivered to; one without a row is served. While tripped, one message may go
    at `probe_at`; what is halted waits for an operator. `reason` is the latest."""

    __tablename__ = "destinations"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    tripped_at: Mapped[datetime | None] = mapped_column(INSTANT)
    probe_at: Mapped[datetime | None] = mapped_column(INSTANT)
    paused_until: Mapped[datetime | None] = mapped_column(INSTANT)
    halted_at: Mapped[datetime | None] = mapped_column(INSTANT)
    reason: Mapped[str | None] = mapped_column(Text)


class DestinationMinuteRow(DefaultBase):
    """A minute's attempts that say something about their destination. In shards: a counter stays locked until its
    transaction is on disk."""

    __tablename__ = "destination_minutes"

    destination: Mapped[str] = mapped_column(Text, primary_key=True)
    minute: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    attempts: Mapped[int]
    failures: Mapped[int]
