"""Requested erasures, within a unit of work."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.audit import AuditAction, AuditTrail
from domain.audit_effects import account
from domain.erasure import Erasure
from infrastructure.postgres.erasure.statements import USER
from infrastructure.postgres.tables import ErasureRow

ERASED = (f"UPDATE erasures SET erased_at = clock_timestamp() WHERE user_id = {USER}",)  # noqa: S608 (a constant)


class PostgresErasures:
    def __init__(self, session: AsyncSession, audit: AuditTrail) -> None:
        self._session = session
        self._audit = audit

    async def add(self, user_id: UserId, now: datetime, *, due_at: datetime) -> Erasure:
        new = insert(ErasureRow).values(user_id=user_id, requested_at=now, due_at=due_at)
        await self._session.execute(new)
        self._audit.record(AuditAction.ERASURE_REQUESTED, account(user_id), after={"due_at": due_at.isoformat()})
        return Erasure(user_id, now, due_at)

    async def find(self, user_id: UserId) -> Erasure | None:
        row = await self._session.get(ErasureRow, user_id, populate_existing=True)
        return _erasure(row) if row else None

    async def withdraw(self, user_id: UserId) -> None:
        await self._session.execute(delete(ErasureRow).where(ErasureRow.user_id == user_id))
        self._audit.record(AuditAction.ERASURE_WITHDRAWN, account(user_id))

    async def begin(self, user_id: UserId, now: datetime) -> None:
        await self._session.execute(update(ErasureRow).where(ErasureRow.user_id == user_id).values(begun_at=now))


def _erasure(row: Any) -> Erasure:
    return Erasure(UserId(row.user_id), row.requested_at, row.due_at, row.begun_at, row.erased_at)
