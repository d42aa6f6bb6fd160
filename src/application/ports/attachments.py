"""Files that belong to a coaching booking."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.attachments import Attachment, AttachmentId, NewAttachment
from domain.coaching import CoachingId
from domain.users import UserId


class Attachments(Protocol):
    async def count(self, booking: CoachingId) -> int: ...

    async def add(self, booking: CoachingId, by: UserId, new: NewAttachment, now: datetime) -> AttachmentId: ...

    async def get(self, booking: CoachingId, attachment: AttachmentId) -> Attachment:
        """Raises `AttachmentNotFound`."""
        ...

    async def remove(self, attachment: AttachmentId) -> None: ...


@dataclass(frozen=True, slots=True)
class AttachmentView:
    attachment: Attachment
    uploader_uuid: UUID
    uploader_name: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    filename: str
    media_type: str
    content: bytes


class AttachmentReader(Protocol):
    """Raises `AttachmentNotFound`."""

    async def get(self, booking: CoachingId, attachment: AttachmentId) -> AttachmentView: ...

    async def content(self, booking: CoachingId, attachment: AttachmentId) -> StoredFile: ...

    async def list(self, booking: CoachingId) -> Sequence[AttachmentView]:
        """The oldest first."""
        ...
