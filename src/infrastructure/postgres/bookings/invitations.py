"""Invitations in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from application.bookings.ports import ShownInvitation
from application.ports import Page, PageRequest
from domain.accounts import UserId
from domain.events import EventId
from domain.ids import BookingId
from domain.invitations import Invitation, InvitationId, InvitationNotFound, InvitationStatus
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import LAST_UUID, cursor_of, uuid_after
from infrastructure.postgres.tables import InvitationRow

_HAS_BOOKING = """
SELECT EXISTS (SELECT FROM bookings b JOIN users u ON u.id = b.user_id
               WHERE b.event_id = :event_id AND u.email = :email AND b.status <> 'cancelled')
"""

_EXPIRED = """
SELECT i.id FROM invitations i JOIN events e ON e.id = i.event_id
WHERE i.status = 'pending' AND least(i.expires_at, e.starts_at) <= :now ORDER BY i.expires_at LIMIT :limit
"""

_SHOWN = """
SELECT i.*, e.title, e.starts_at, e.ends_at, e.location, f.name AS facilitator_name,
       i.status = 'pending' AND least(i.expires_at, e.starts_at) > $2 AND e.status = 'active' AND f.is_active AS is_open
FROM invitations i JOIN events e ON e.id = i.event_id JOIN users f ON f.id = e.facilitator_id
WHERE i.id = $1
"""

PRUNE_INVITATIONS = """
DELETE FROM invitations WHERE id IN (
    SELECT id FROM invitations WHERE status <> 'pending' AND answered_at < now() - $1::interval
    ORDER BY answered_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
"""$1: age of the answer, $2: at most so many rows."""


class PostgresInvitations:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(
        self, event_id: EventId, *, name: str, email: str, by: UserId, now: datetime, expires_at: datetime
    ) -> Invitation:
        added = insert(InvitationRow).values(
            event_id=event_id, name=name, email=email, invited_by=by, created_at=now, expires_at=expires_at
        )
        row = (await self._session.execute(added.returning(*InvitationRow.__table__.c))).mappings().one()
        return _invitation(row)

    async def find_event_id(self, invitation_id: InvitationId) -> EventId:
        event_id = await self._session.scalar(select(InvitationRow.event_id).where(InvitationRow.id == invitation_id))
        if event_id is None:
            raise InvitationNotFound
        return EventId(event_id)

    async def get(self, invitation_id: InvitationId) -> Invitation:
        found = select(*InvitationRow.__table__.c).where(InvitationRow.id == invitation_id).with_for_update()
        row = (await self._session.execute(found)).mappings().first()
        if row is None:
            raise InvitationNotFound
        return _invitation(row)

    async def has_pending(self, event_id: EventId, email: str) -> bool:
        pending = select(InvitationRow.id).where(
            InvitationRow.event_id == event_id,
            InvitationRow.email == email,
            InvitationRow.status == InvitationStatus.PENDING,
        )
        return await self._session.scalar(pending) is not None

    async def has_booking(self, event_id: EventId, email: str) -> bool:
        return bool(await self._session.scalar(text(_HAS_BOOKING), {"event_id": event_id, "email": email}))

    async def save(self, invitation: Invitation) -> None:
        await self._session.execute(
            update(InvitationRow)
            .where(InvitationRow.id == invitation.id)
            .values(status=invitation.status, answered_at=invitation.answered_at, booking_id=invitation.booking_id)
        )

    async def withdraw_of_event(self, event_id: EventId, now: datetime) -> None:
        await self._session.execute(
            update(InvitationRow)
            .where(InvitationRow.event_id == event_id, InvitationRow.status == InvitationStatus.PENDING)
            .values(status=InvitationStatus.WITHDRAWN, answered_at=now)
        )

    async def find_expired(self, now: datetime, *, limit: int) -> Sequence[InvitationId]:
        rows = await self._session.execute(text(_EXPIRED), {"now": now, "limit": limit})
        return [InvitationId(cast(UUID, row)) for row in rows.scalars()]


class PostgresInvitationQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def show(self, invitation_id: InvitationId, now: datetime) -> ShownInvitation:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SHOWN, invitation_id, now)
        if row is None:
            raise InvitationNotFound
        return ShownInvitation(
            invitation=_invitation(row),
            is_open=row["is_open"],
            title=row["title"],
            starts_at=row["starts_at"],
            ends_at=row["ends_at"],
            location=row["location"],
            facilitator_name=row["facilitator_name"],
        )

    async def list_of_event(self, event_id: EventId, page: PageRequest) -> Page[Invitation]:
        before = uuid_after(page.after) or LAST_UUID
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM invitations WHERE event_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
                event_id,
                before,
                page.limit + 1,
            )
        found = [_invitation(row) for row in rows[: page.limit]]
        return Page(found, cursor_of(found[-1].id) if len(rows) > page.limit else None)


def _invitation(row: Any) -> Invitation:
    """The invitation in a row with the columns of `invitations`."""
    return Invitation(
        id=InvitationId(row["id"]),
        event_id=EventId(row["event_id"]),
        name=row["name"],
        email=row["email"],
        invited_by=UserId(row["invited_by"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        status=InvitationStatus(row["status"]),
        answered_at=row["answered_at"],
        booking_id=BookingId(row["booking_id"]) if row["booking_id"] else None,
    )
