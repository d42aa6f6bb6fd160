"""Attachments of appointments in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from application.appointments.ports import AttachmentView, StoredFile
from domain.accounts import UserId
from domain.attachments import Attachment, AttachmentId, AttachmentNotFound, AttachmentUsage, NewAttachment
from domain.ids import AppointmentId
from infrastructure.postgres.engine import Database

_COLUMNS = """
    a.id, a.booking_id, a.uploaded_by, a.filename, a.media_type, octet_length(a.content) AS size, a.created_at
"""
_VIEWS = f"""
SELECT {_COLUMNS}, u.uuid AS uploader_uuid, u.name AS uploader_name
FROM coaching_attachments a JOIN users u ON u.id = a.uploaded_by WHERE a.booking_id = $1
"""  # noqa: S608 (composed of constants)


_LOCK_USAGE = text("SELECT pg_advisory_xact_lock(hashtextextended('attachments of ' || CAST(:account AS bigint), 0))")
# The size is known without reading the content.
_USAGE = text("""
SELECT count(*) AS files, coalesce(sum(octet_length(content)), 0) AS bytes
FROM coaching_attachments WHERE uploaded_by = :account
""")


class PostgresAttachments:
    """Attachments inside a unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def count(self, booking: AppointmentId) -> int:
        statement = text("SELECT count(*) FROM coaching_attachments WHERE booking_id = :booking")
        return int(await self._session.scalar(statement, {"booking": booking}) or 0)

    async def usage(self, account: UserId) -> AttachmentUsage:
        await self.lock_usage(account)
        # A second statement, so that its snapshot is taken under the lock.
        used = (await self._session.execute(_USAGE, {"account": account})).one()
        return AttachmentUsage(used.files, used.bytes)

    async def lock_usage(self, account: UserId) -> None:
        await self._session.execute(_LOCK_USAGE, {"account": account})

    async def add(self, booking: AppointmentId, by: UserId, new: NewAttachment, now: datetime) -> AttachmentId:
        attachment_id = await self._session.scalar(
            text("""
                INSERT INTO coaching_attachments (booking_id, uploaded_by, filename, media_type, content, created_at)
                VALUES (:booking, :by, :filename, :media_type, :content, :now) RETURNING id"""),
            {
                "booking": booking,
                "by": by,
                "filename": new.filename,
                "media_type": new.media_type,
                "content": new.content,
                "now": now,
            },
        )
        return AttachmentId(attachment_id)

    async def get(self, booking: AppointmentId, attachment: AttachmentId) -> Attachment:
        statement = text(f"SELECT {_COLUMNS} FROM coaching_attachments a WHERE id = :id AND booking_id = :booking")  # noqa: S608
        found = (await self._session.execute(statement, {"id": attachment, "booking": booking})).mappings().first()
        if found is None:
            raise AttachmentNotFound
        return _attachment(found)

    async def remove(self, attachment: AttachmentId) -> None:
        await self._session.execute(text("DELETE FROM coaching_attachments WHERE id = :id"), {"id": attachment})


class PostgresAttachmentQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, booking: AppointmentId, attachment: AttachmentId) -> AttachmentView:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"{_VIEWS} AND a.id = $2", booking, attachment)
        if row is None:
            raise AttachmentNotFound
        return _view(row)

    async def content(self, booking: AppointmentId, attachment: AttachmentId) -> StoredFile:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT filename, media_type, content FROM coaching_attachments WHERE booking_id = $1 AND id = $2",
                booking,
                attachment,
            )
        if row is None:
            raise AttachmentNotFound
        return StoredFile(row["filename"], row["media_type"], row["content"])

    async def list(self, booking: AppointmentId) -> Sequence[AttachmentView]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(f"{_VIEWS} ORDER BY a.id", booking)
        return [_view(row) for row in rows]


def _view(row: asyncpg.Record) -> AttachmentView:
    return AttachmentView(_attachment(row), row["uploader_uuid"], row["uploader_name"])


def _attachment(row: Any) -> Attachment:
    return Attachment(
        id=AttachmentId(row["id"]),
        booking_id=AppointmentId(row["booking_id"]),
        uploaded_by=UserId(row["uploaded_by"]),
        filename=row["filename"],
        media_type=row["media_type"],
        size=row["size"],
        created_at=row["created_at"],
    )
