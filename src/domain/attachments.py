"""Attachments: files of an appointment."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from domain.accounts import User, UserId
from domain.appointments import Appointment
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.ids import AppointmentId
from domain.text import line
from servicekit.text import has_visible, without_invisible

AttachmentId = NewType("AttachmentId", UUID)

MEGABYTE = 1024 * 1024
MAX_BYTES = 5 * MEGABYTE
MAX_ATTACHMENTS = 20
MAX_FILENAME = 200
UNKNOWN_TYPE = "application/octet-stream"

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}", re.ASCII)


class AttachmentNotFound(NotFound):
    code = "attachment_not_found"
    message = "Attachment not found"


class TooManyAttachments(Conflict):
    code = "too_many_attachments"
    message = f"A booking has at most {MAX_ATTACHMENTS} attachments"


class AttachmentQuotaExceeded(Conflict):
    code = "attachment_quota_exceeded"
    message = "The attachments of your account have reached their limit. Please delete some before you add another"


class AttachmentForbidden(Forbidden):
    code = "not_your_attachment"
    message = "Only who uploaded it, the coach or an admin can delete an attachment"


@dataclass(frozen=True, slots=True)
class AttachmentUsage:
    """The files of one account in all appointments, and their bytes together."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class AttachmentQuota:
    """What one account may store in all appointments. 0: no limit."""

    files: int = 1000
    megabytes: int = 500

    def require_room(self, used: AttachmentUsage, size: int) -> None:
        """For another file of `size` bytes. Raises `AttachmentQuotaExceeded`."""
        if self.files and used.files >= self.files:
            raise AttachmentQuotaExceeded(
                f"You have {used.files} attachments, and {self.files} are allowed. "
                "Please delete some before you add another"
            )
        if self.megabytes and used.bytes + size > self.megabytes * MEGABYTE:
            raise AttachmentQuotaExceeded(
                f"Your attachments may have {self.megabytes} MB together, and this file exceeds that. "
                "Please delete some before you add it"
            )


DEFAULT_QUOTA = AttachmentQuota()


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """An uploaded file: its name without a path, and its media type if the given one is well-formed."""

    filename: str
    media_type: str
    content: bytes

    def __post_init__(self) -> None:
        if not self.content:
            raise Invalid({"file": "Must not be empty"})
        if len(self.content) > MAX_BYTES:
            raise Invalid({"file": f"Must be at most {MAX_BYTES // MEGABYTE} MB"})
        object.__setattr__(self, "filename", clean_filename(self.filename))
        media_type = self.media_type.partition(";")[0].strip().lower()
        object.__setattr__(self, "media_type", media_type if _MEDIA_TYPE.fullmatch(media_type) else UNKNOWN_TYPE)


@dataclass(frozen=True, slots=True)
class Attachment:
    id: AttachmentId
    booking_id: AppointmentId
    uploaded_by: UserId
    filename: str
    media_type: str
    size: int
    created_at: datetime

    def require_deletable(self, user: User, appointment: Appointment) -> None:
        if user.id != self.uploaded_by and not appointment.is_run_by(user):
            raise AttachmentForbidden


def clean_filename(name: str) -> str:
    """The file name without a path of any operating system and without invisible characters (they can display `txt.exe`
    as `exe.txt`). Raises `Invalid` for control characters, and if no name is left."""
    last = re.split(r"[/\\]", name)[-1]
    # Truncated before processing; removed characters are rarely three quarters of a name.
    cleaned = line("filename", without_invisible(last[: 4 * MAX_FILENAME]), at_most=MAX_FILENAME).lstrip(". ")
    if not has_visible(cleaned):
        raise Invalid({"filename": "Must be the name of a file"})
    return cleaned
