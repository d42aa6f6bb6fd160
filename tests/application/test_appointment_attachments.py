"""Rules of the attachments of appointments."""

from dataclasses import replace

import pytest

from application.appointments.attachments import Attach
from application.appointments.ports import AttachmentView, StoredFile
from domain.accounts import User
from domain.appointments import (
    AppointmentChange,
    AppointmentChangeForbidden,
    AppointmentNotFound,
    AppointmentStatus,
    AppointmentViewForbidden,
)
from domain.attachments import (
    MAX_ATTACHMENTS,
    MAX_BYTES,
    MAX_FILENAME,
    AttachmentForbidden,
    AttachmentId,
    AttachmentNotFound,
    AttachmentQuota,
    AttachmentQuotaExceeded,
    NewAttachment,
    TooManyAttachments,
)
from domain.errors import Invalid
from domain.ids import AppointmentId
from tests.application.appointment_application import AppointmentApplication
from tests.application.test_appointment_changes import UNKNOWN

APPLICATION = AppointmentApplication


def a_file(filename: str = "goals.txt", content: bytes = b"hello", media_type: str = "text/plain") -> NewAttachment:
    return NewAttachment(filename, media_type, content)


async def attached(app: AppointmentApplication, user: User, appointment_id: AppointmentId) -> AttachmentView:
    return await app.attach(user, appointment_id, a_file())


async def test_client_coach_and_admins_add_files_and_others_do_not(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    for user in (await app.participants(appointment_id)).values():
        view = await attached(app, user, appointment_id)
        assert (view.uploader_uuid, view.uploader_name) == (user.uuid, user.name)
    for stranger in (await app.person(), await app.coach()):
        with pytest.raises(AppointmentChangeForbidden):
            await attached(app, stranger, appointment_id)
    with pytest.raises(AppointmentNotFound):
        await attached(app, await app.admin(), UNKNOWN)
    assert len(await app.list_attachments(await app.admin(), appointment_id)) == 3


async def test_files_are_listed_oldest_first(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    client, coach = app.client_of(appointment_id), app.coach_of(appointment_id)
    views = [await attached(app, user, appointment_id) for user in (coach, client, coach)]
    assert await app.list_attachments(client, appointment_id) == views


async def test_file_is_downloaded_as_it_was_uploaded_by_participants_only(app: AppointmentApplication) -> None:
    appointment_id, content = await app.appointment(), bytes(range(256))
    client = app.client_of(appointment_id)
    view = await app.attach(client, appointment_id, a_file("plan.pdf", content, "application/pdf; charset=x"))
    assert view.attachment.size == 256
    for user in (await app.participants(appointment_id)).values():
        found = await app.download_attachment(user, appointment_id, view.attachment.id)
        assert found == StoredFile("plan.pdf", "application/pdf", content)
    for stranger in (await app.person(), await app.coach()):
        with pytest.raises(AppointmentViewForbidden):
            await app.download_attachment(stranger, appointment_id, view.attachment.id)


async def test_file_has_at_most_five_megabytes(app: AppointmentApplication) -> None:
    assert a_file(content=b"x" * MAX_BYTES).content
    for content in (b"x" * (MAX_BYTES + 1), b""):
        with pytest.raises(Invalid) as invalid:
            a_file(content=content)
        assert set(invalid.value.details) == {"file"}


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\plan.doc", "plan.doc"),
        (".bashrc", "bashrc"),
        ("txt.\u202eexe", "txt.exe"),
        ("a;b=c,d%41'\u00e9.txt", "a;b=c,d%41'\u00e9.txt"),
    ],
)
def test_filename_has_no_path(name: str, stored: str) -> None:
    assert a_file(name).filename == stored


@pytest.mark.parametrize("name", ["..", "/", "a\nb.txt", "a\0.txt", "x" * (MAX_FILENAME + 1), "\x7f", ""])
def test_invalid_filename_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        a_file(name)


@pytest.mark.parametrize("media_type", ["", "text", "text/plain\r\nX: y", "text/" + "x" * 100])
def test_malformed_media_type_is_not_kept(media_type: str) -> None:
    assert a_file(media_type=media_type).media_type == "application/octet-stream"


async def test_booking_has_at_most_20_files(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    client = app.client_of(appointment_id)
    views = [await attached(app, client, appointment_id) for _ in range(MAX_ATTACHMENTS)]
    with pytest.raises(TooManyAttachments):
        await attached(app, client, appointment_id)
    await attached(app, client, await app.appointment(client=client))  # another booking
    await app.delete_attachment(client, appointment_id, views[0].attachment.id)
    await attached(app, client, appointment_id)


async def test_uploader_coach_and_admins_delete_a_file(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    people = await app.participants(appointment_id)
    for who in ("client", "coach", "admin"):
        view = await attached(app, people["client"], appointment_id)
        await app.delete_attachment(people[who], appointment_id, view.attachment.id)
        with pytest.raises(AttachmentNotFound):
            await app.download_attachment(people[who], appointment_id, view.attachment.id)
    of_coach = await attached(app, people["coach"], appointment_id)
    with pytest.raises(AttachmentForbidden):
        await app.delete_attachment(people["client"], appointment_id, of_coach.attachment.id)
    with pytest.raises(AppointmentChangeForbidden):
        await app.delete_attachment(await app.coach(), appointment_id, of_coach.attachment.id)
    assert await app.list_attachments(people["client"], appointment_id) == [of_coach]


async def test_file_is_found_by_its_own_booking_only(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    client = app.client_of(appointment_id)
    attachment_id = (await attached(app, client, appointment_id)).attachment.id
    other = await app.appointment(client=client)
    for booking, attachment in ((other, attachment_id), (appointment_id, AttachmentId(UNKNOWN))):
        with pytest.raises(AttachmentNotFound):
            await app.download_attachment(client, booking, attachment)
        with pytest.raises(AttachmentNotFound):
            await app.delete_attachment(client, booking, attachment)


async def test_history_names_added_and_removed_files(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    client, coach = app.client_of(appointment_id), app.coach_of(appointment_id)
    before = app.stored(appointment_id)
    view = await attached(app, client, appointment_id)
    await app.delete_attachment(coach, appointment_id, view.attachment.id)
    file = {"attachment": {"id": str(view.attachment.id), "filename": "goals.txt"}}
    entries = (await app.history(appointment_id))[1:]
    assert [(each.change, each.by_name, each.before, each.after) for each in entries] == [
        (AppointmentChange.ATTACHMENT_ADDED, client.name, {}, file),
        (AppointmentChange.ATTACHMENT_REMOVED, coach.name, file, {}),
    ]
    assert app.stored(appointment_id) == before, "the appointment itself stays as it is"


@pytest.mark.parametrize("status", [AppointmentStatus.COMPLETED, AppointmentStatus.CANCELLED])
async def test_files_can_be_added_after_a_session(app: AppointmentApplication, status: AppointmentStatus) -> None:
    appointment_id = await app.in_status(status)
    await attached(app, app.coach_of(appointment_id), appointment_id)


async def test_repeated_upload_adds_one_file(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    client = app.client_of(appointment_id)
    first, second = await app.repeated(lambda: attached(app, client, appointment_id))
    assert first == second


# The quota of an account


def limited(app: AppointmentApplication, **limits: int) -> Attach:
    return replace(app.attach, quota=AttachmentQuota(**{"files": 0, "megabytes": 0} | limits))


async def test_account_stores_no_more_files_than_its_quota_in_all_appointments(app: AppointmentApplication) -> None:
    attach, client = limited(app, files=2), await app.person()
    first, second = [await app.appointment(client=client) for _ in range(2)]
    view = await attach(client, first, a_file())
    await attach(client, second, a_file())
    for appointment_id in (first, second):
        with pytest.raises(AttachmentQuotaExceeded):
            await attach(client, appointment_id, a_file())
    await attach(app.coach_of(first), first, a_file())  # the coach has a quota of their own
    await app.delete_attachment(app.coach_of(first), first, view.attachment.id)
    await attach(client, second, a_file())
    assert len(await app.list_attachments(client, second)) == 2


async def test_account_stores_no_more_bytes_than_its_quota(app: AppointmentApplication) -> None:
    attach, appointment_id = limited(app, megabytes=2), await app.appointment()
    client, megabyte = app.client_of(appointment_id), 1024 * 1024
    view = await attach(client, appointment_id, a_file(content=b"x" * (megabyte + 1)))
    with pytest.raises(AttachmentQuotaExceeded):
        await attach(client, appointment_id, a_file(content=b"x" * megabyte))
    await attach(client, appointment_id, a_file(content=b"x" * (megabyte - 1)))
    with pytest.raises(AttachmentQuotaExceeded):
        await attach(client, appointment_id, a_file(content=b"x"))
    await app.delete_attachment(client, appointment_id, view.attachment.id)
    await attach(client, appointment_id, a_file(content=b"x" * (megabyte + 1)))


async def test_quota_of_zero_is_no_limit(app: AppointmentApplication) -> None:
    attach, appointment_id = limited(app), await app.appointment()
    for _ in range(3):
        await attach(app.client_of(appointment_id), appointment_id, a_file(content=b"x" * MAX_BYTES))
