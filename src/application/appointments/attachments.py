"""Attachments of appointments: files that the client and the coach share."""

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from application.appointments.ports import AppointmentQueries, AttachmentQueries, AttachmentView, StoredFile
from application.idempotency import recorded_result
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.appointments import (
    AppointmentChangeForbidden,
    AppointmentFile,
    AppointmentNotFound,
    AppointmentViewForbidden,
)
from domain.attachments import (
    DEFAULT_QUOTA,
    MAX_ATTACHMENTS,
    AttachmentForbidden,
    AttachmentId,
    AttachmentNotFound,
    AttachmentQuota,
    AttachmentQuotaExceeded,
    NewAttachment,
    TooManyAttachments,
)
from domain.errors import Errors
from domain.ids import AppointmentId


@use_case
class Attach:
    """Adds a file to a booking, visible to its client and its coach.

    - The client, the coach and admins can add files. A file has at most 5 MB, a booking at most 20 files.
    - An account can store a limited number of files and megabytes in all bookings, by default 1000 files with 500 MB
      together. Files that it deletes make room.
    """

    raises: ClassVar[Errors] = (
        AppointmentNotFound,
        AppointmentChangeForbidden,
        TooManyAttachments,
        AttachmentQuotaExceeded,
    )

    open_work: OpenUnitOfWork
    reader: AttachmentQueries
    clock: Clock
    quota: AttachmentQuota = DEFAULT_QUOTA

    async def __call__(self, user: User, appointment_id: AppointmentId, new: NewAttachment) -> AttachmentView:
        if (made := recorded_result()) is not None:
            return await self.reader.get(appointment_id, AttachmentId(UUID(made)))
        async with self.open_work() as work:
            # The lock makes concurrent uploads count one after the other.
            appointment = await work.appointments.get(appointment_id)
            appointment.require_participant(user)
            if await work.attachments.count(appointment_id) >= MAX_ATTACHMENTS:
                raise TooManyAttachments
            self.quota.require_room(await work.attachments.usage(user.id), len(new.content))
            now = self.clock.now()
            attachment_id = await work.attachments.add(appointment_id, user.id, new, now)
            file = AppointmentFile(attachment_id, new.filename)
            await work.appointments.save(appointment.with_attachment(file, now, by=user.id))
            await work.commit(made=str(attachment_id))
        return await self.reader.get(appointment_id, attachment_id)


@use_case
class ListAttachments:
    """The files of a booking, oldest first. For its client, its coach and admins."""

    raises: ClassVar[Errors] = (AppointmentNotFound, AppointmentViewForbidden)

    reader: AttachmentQueries
    appointments: AppointmentQueries

    async def __call__(self, user: User, appointment_id: AppointmentId) -> Sequence[AttachmentView]:
        (await self.appointments.get(appointment_id)).require_participant(user, AppointmentViewForbidden)
        return await self.reader.list(appointment_id)


@use_case
class DownloadAttachment:
    """A file of a booking, as it was uploaded. For its client, its coach and admins."""

    raises: ClassVar[Errors] = (AppointmentNotFound, AppointmentViewForbidden, AttachmentNotFound)

    reader: AttachmentQueries
    appointments: AppointmentQueries

    async def __call__(self, user: User, appointment_id: AppointmentId, attachment_id: AttachmentId) -> StoredFile:
        (await self.appointments.get(appointment_id)).require_participant(user, AppointmentViewForbidden)
        return await self.reader.content(appointment_id, attachment_id)


@use_case
class DeleteAttachment:
    """Removes a file: allowed for its uploader, the coach and admins."""

    raises: ClassVar[Errors] = (
        AppointmentNotFound,
        AppointmentChangeForbidden,
        AttachmentNotFound,
        AttachmentForbidden,
    )

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, user: User, appointment_id: AppointmentId, attachment_id: AttachmentId) -> None:
        async with self.open_work() as work:
            appointment = await work.appointments.get(appointment_id)
            appointment.require_participant(user)
            attachment = await work.attachments.get(appointment_id, attachment_id)
            attachment.require_deletable(user, appointment)
            await work.attachments.remove(attachment_id)
            file = AppointmentFile(attachment_id, attachment.filename)
            await work.appointments.save(appointment.without_attachment(file, self.clock.now(), by=user.id))
            await work.commit()
