"""Table of idempotency keys."""

from datetime import datetime
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import CheckConstraint, LargeBinary, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NOW


class IdempotencyKeyRow(DefaultBase):
    """`committed`: whether the work of the request is committed. `made`: its result, from which the answer can be built
    again. `status`, `headers` and `body`: the stored answer."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    request: Mapped[bytes] = mapped_column(LargeBinary)
    runner: Mapped[UUID] = mapped_column(Uuid)
    leased_until: Mapped[datetime] = mapped_column(INSTANT)
    committed: Mapped[bool] = mapped_column(server_default=text("false"))
    made: Mapped[Any] = mapped_column(JSONB, nullable=True)
    status: Mapped[int | None]
    headers: Mapped[list[list[str]] | None] = mapped_column(JSONB)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW, index=True)

    __table_args__ = (CheckConstraint("num_nulls(status, headers, body) IN (0, 3)", name="answer"),)
