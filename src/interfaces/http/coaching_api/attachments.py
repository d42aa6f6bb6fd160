"""Contract E: attachments of appointments."""

import re
from datetime import datetime
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from litestar import Response, delete, get, post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from msgspec import Struct

from application.accounts.sessions import Actor
from application.appointments.attachments import Attach, DeleteAttachment, DownloadAttachment, ListAttachments
from application.appointments.ports import AttachmentView
from domain.api_keys import Scope
from domain.attachments import MAX_BYTES, UNKNOWN_TYPE, NewAttachment
from interfaces.http.authentication import signed_in
from interfaces.http.coaching_api.parameters import AppointmentIdInPath, AttachmentIdInPath
from interfaces.http.injection import Inject
from interfaces.http.middleware import MAX_BODY, Upload
from interfaces.http.schemas import whole_seconds

TAGS = ["Contract E: attachments"]

# The file and the encoding of the form.
UPLOAD = Upload(re.compile(r"/booking/[^/]+/attachments/?"), MAX_BYTES + MAX_BODY)

_PLAIN = re.compile(r'[^ -~]|["\\%]')


class NewFile(Struct):
    file: UploadFile


class AttachmentBody(Struct):
    id: UUID
    filename: str
    media_type: str
    size: int
    uploaded_by: UUID
    uploaded_by_name: str
    created_at: datetime


class AttachmentList(Struct):
    attachments: list[AttachmentBody]


@post(
    "/booking/{booking_id:str}/attachments",
    operation_id="addAttachment",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.APPOINTMENTS_WRITE)],
    request_max_body_size=UPLOAD.largest,
)
async def add_attachment(
    booking_id: FromPath[AppointmentIdInPath],
    data: Annotated[NewFile, Body(media_type=RequestEncodingType.MULTI_PART)],
    actor: Inject[Actor],
    attach: Inject[Attach],
) -> AttachmentBody:
    new = NewAttachment(data.file.filename, data.file.content_type, await data.file.read())
    return _body(await attach(actor.user, booking_id, new))


@get(
    "/booking/{booking_id:str}/attachments",
    operation_id="listAttachments",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.APPOINTMENTS_READ)],
)
async def list_of_attachments(
    booking_id: FromPath[AppointmentIdInPath], actor: Inject[Actor], list_attachments: Inject[ListAttachments]
) -> AttachmentList:
    return AttachmentList([_body(view) for view in await list_attachments(actor.user, booking_id)])


@get(
    "/booking/{booking_id:str}/attachments/{attachment_id:str}",
    operation_id="downloadAttachment",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.APPOINTMENTS_READ)],
    media_type=UNKNOWN_TYPE,
)
async def download(
    booking_id: FromPath[AppointmentIdInPath],
    attachment_id: FromPath[AttachmentIdInPath],
    actor: Inject[Actor],
    download_attachment: Inject[DownloadAttachment],
) -> Response[bytes]:
    file = await download_attachment(actor.user, booking_id, attachment_id)
    # A browser must store the file and never render it, whichever type it declares: another person uploaded it.
    headers = {"Content-Disposition": disposition(file.filename), "Content-Security-Policy": "sandbox"}
    return Response(file.content, media_type=UNKNOWN_TYPE, headers=headers)


@delete(
    "/booking/{booking_id:str}/attachments/{attachment_id:str}",
    operation_id="deleteAttachment",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.APPOINTMENTS_WRITE)],
)
async def remove_attachment(
    booking_id: FromPath[AppointmentIdInPath],
    attachment_id: FromPath[AttachmentIdInPath],
    actor: Inject[Actor],
    delete_attachment: Inject[DeleteAttachment],
) -> None:
    await delete_attachment(actor.user, booking_id, attachment_id)


ROUTES = [add_attachment, list_of_attachments, download, remove_attachment]


def disposition(filename: str) -> str:
    """The Content-Disposition header (RFC 6266): the name in UTF-8, and one in ASCII for clients that do not support
    `filename*`."""
    return f"attachment; filename=\"{_PLAIN.sub('_', filename)}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _body(view: AttachmentView) -> AttachmentBody:
    attachment = view.attachment
    return AttachmentBody(
        id=attachment.id,
        filename=attachment.filename,
        media_type=attachment.media_type,
        size=attachment.size,
        uploaded_by=view.uploader_uuid,
        uploaded_by_name=view.uploader_name,
        created_at=whole_seconds(attachment.created_at),
    )
