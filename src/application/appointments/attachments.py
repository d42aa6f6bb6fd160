"""Files that the two people of a coaching booking share."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from application.appointments.ports import AttachmentReader, AttachmentView, CoachingReader, StoredFile
from application.idempotency import made_before
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import User
from domain.appointments import Change, CoachingId, NotForYourEyes
from domain.attachments import MAX_ATTACHMENTS, AttachmentId, NewAttachment, TooManyAttachments


@dataclass(frozen=True, slots=True)
class Attach:
    """Adds a file to a booking, for both of its people.

    - The client, the coach and admins may; a file has at most 5 MB, a booking at most 20 files.
    """

    open_work: OpenUnitOfWork
    reader: AttachmentReader
    clock: Clock

    async def __call__(self, user: User, coaching_id: CoachingId, new: NewAttachment) -> AttachmentView:
        if (made := made_before()) is not None:
            return await self.reader.get(coaching_id, AttachmentId(UUID(made)))
        async with self.open_work() as work:
            # Locked: two files at once are counted one after the other.
            coaching = await work.coachings.get(coaching_id)
            coaching.require_participant(user)
            if await work.attachments.count(coaching_id) >= MAX_ATTACHMENTS:
                raise TooManyAttachments
            now = self.clock.now()
            attachment_id = await work.attachments.add(coaching_id, user.id, new, now)
            await work.coachings.record_file(
                coaching, Change.ATTACHMENT_ADDED, attachment_id, new.filename, by=user.id, now=now
            )
            await work.commit(made=str(attachment_id))
        return await self.reader.get(coaching_id, attachment_id)


@dataclass(frozen=True, slots=True)
class ListAttachments:
    """The files of a booking, for its client, its coach and admins; the oldest first."""

    reader: AttachmentReader
    coachings: CoachingReader

    async def __call__(self, user: User, coaching_id: CoachingId) -> Sequence[AttachmentView]:
        (await self.coachings.get(coaching_id)).require_participant(user, NotForYourEyes)
        return await self.reader.list(coaching_id)


@dataclass(frozen=True, slots=True)
class DownloadAttachment:
    """A file of a booking as it was sent, for its client, its coach and admins."""

    reader: AttachmentReader
    coachings: CoachingReader

    async def __call__(self, user: User, coaching_id: CoachingId, attachment_id: AttachmentId) -> StoredFile:
        (await self.coachings.get(coaching_id)).require_participant(user, NotForYourEyes)
        return await self.reader.content(coaching_id, attachment_id)


@dataclass(frozen=True, slots=True)
class DeleteAttachment:
    """Takes a file away: whoever uploaded it, the coach and admins may."""

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, user: User, coaching_id: CoachingId, attachment_id: AttachmentId) -> None:
        async with self.open_work() as work:
            coaching = await work.coachings.get(coaching_id)
            coaching.require_participant(user)
            attachment = await work.attachments.get(coaching_id, attachment_id)
            attachment.require_deletable(user, coaching)
            await work.attachments.remove(attachment_id)
            await work.coachings.record_file(
                coaching,
                Change.ATTACHMENT_REMOVED,
                attachment_id,
                attachment.filename,
                by=user.id,
                now=self.clock.now(),
            )
            await work.commit()
