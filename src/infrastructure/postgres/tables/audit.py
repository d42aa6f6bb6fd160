"""Tables of the audit log."""

from datetime import datetime
from typing import Any

from advanced_alchemy.base import DefaultBase
from sqlalchemy import BigInteger, CheckConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT


class AuditLogRow(DefaultBase):
    """Append-only: a trigger refuses every change but that of the hashes, once, and the deletion of rows behind the
    anchor of the chain."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False, server_default=text("next_audit_id()")
    )
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    actor_kind: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[str | None] = mapped_column(Text)
    network: Mapped[str | None] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    object_kind: Mapped[str] = mapped_column(Text)
    object_id: Mapped[str | None] = mapped_column(Text)
    before: Mapped[Any] = mapped_column(JSONB, nullable=True)
    after: Mapped[Any] = mapped_column(JSONB, nullable=True)
    request_id: Mapped[str | None] = mapped_column(Text)
    previous_hash: Mapped[str | None] = mapped_column(Text)
    hash: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("ix_audit_log_unchained", "id", postgresql_where=text("hash IS NULL")),
        Index("ix_audit_log_at", "at", "id"),
        Index("ix_audit_log_actor", "actor_kind", "actor_id", "at", "id"),
        Index("ix_audit_log_action", "action", "at", "id"),
        Index("ix_audit_log_object", "object_kind", "object_id", "at", "id"),
    )


class AuditChainRow(DefaultBase):
    """One row: the last chained entry, and the last entry that retention has deleted."""

    __tablename__ = "audit_chain"

    only_row: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    head_id: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    head_hash: Mapped[str] = mapped_column(Text, server_default=text("''"))
    anchor_id: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    anchor_hash: Mapped[str] = mapped_column(Text, server_default=text("''"))

    __table_args__ = (CheckConstraint("only_row", name="only_row"),)
