"""Uploaded files: what a name, a type and a size may be, and by whom they are deleted."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import Role, UserId
from domain.attachments import (
    MAX_BYTES,
    MAX_FILENAME,
    MEGABYTE,
    UNKNOWN_TYPE,
    Attachment,
    AttachmentForbidden,
    AttachmentId,
    AttachmentQuota,
    AttachmentQuotaExceeded,
    AttachmentUsage,
    NewAttachment,
    clean_filename,
)
from domain.errors import Invalid
from tests.domain.builders import NOW, a_user
from tests.domain.test_appointments import an_appointment


def an_upload(
    filename: str = "plan.pdf", media_type: str = "application/pdf", content: bytes = b"%PDF"
) -> NewAttachment:
    return NewAttachment(filename, media_type, content)


def test_file_of_up_to_five_megabytes_is_accepted() -> None:
    assert MAX_BYTES == 5 * 2**20
    assert an_upload(content=bytes(MAX_BYTES)).content == bytes(MAX_BYTES)


@pytest.mark.parametrize(("size", "why"), [(0, "Must not be empty"), (MAX_BYTES + 1, "Must be at most 5 MB")])
def test_empty_and_larger_files_are_rejected(size: int, why: str) -> None:
    with pytest.raises(Invalid) as rejected:
        an_upload(content=bytes(size))
    assert rejected.value.details == {"file": why}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("application/pdf", "application/pdf"),
        (" Text/Plain ; charset=utf-8", "text/plain"),
        ("image/svg+xml;a=b;c=d", "image/svg+xml"),
        ("", UNKNOWN_TYPE),
        ("pdf", UNKNOWN_TYPE),
        ("text/html\r\nX-Evil: 1", UNKNOWN_TYPE),
        ("text/" + "x" * 62, UNKNOWN_TYPE),
    ],
)
def test_malformed_media_type_is_replaced(given: str, kept: str) -> None:
    assert an_upload(media_type=given).media_type == kept
    assert UNKNOWN_TYPE == "application/octet-stream"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("plan.pdf", "plan.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\plan.pdf", "plan.pdf"),
        ("..plan.pdf", "plan.pdf"),
        (" . plan.pdf ", "plan.pdf"),
        ("a\u202eexe.txt", "aexe.txt"),
        ("x" * MAX_FILENAME, "x" * MAX_FILENAME),
        ("\u200b" * 3 * MAX_FILENAME + "x" * MAX_FILENAME + "yz", "x" * MAX_FILENAME),
    ],
)
def test_filename_has_neither_a_path_nor_invisible_characters(given: str, kept: str) -> None:
    assert clean_filename(given) == kept
    assert an_upload(given).filename == kept


@pytest.mark.parametrize("name", ["", "folder/", "..", " . ", "\u200b", "a\nb", "a\0b", "x" * (MAX_FILENAME + 1)])
def test_name_of_no_file_is_rejected(name: str) -> None:
    with pytest.raises(Invalid) as rejected:
        an_upload(name)
    assert rejected.value.details.keys() == {"filename"}


def test_filename_without_a_visible_character_is_rejected_as_such() -> None:
    with pytest.raises(Invalid) as rejected:
        clean_filename("...")
    assert rejected.value.details == {"filename": "Must be the name of a file"}


def test_uploader_coach_and_admins_delete_an_attachment() -> None:
    appointment = an_appointment(client_id=UserId(1), coach_id=UserId(2))
    attachment = Attachment(
        AttachmentId(UUID(int=7)), appointment.id, UserId(1), "plan.pdf", "application/pdf", 4, created_at=NOW
    )
    for user in (a_user(1), a_user(2, Role.FACILITATOR), a_user(9, Role.ADMIN)):
        attachment.require_deletable(user, appointment)
    with pytest.raises(AttachmentForbidden):
        attachment.require_deletable(a_user(3), appointment)


def test_only_points_and_blanks_are_removed_from_the_start_of_a_filename() -> None:
    assert clean_filename(". X-ray.txt") == "X-ray.txt"


@given(
    files=st.integers(0, 5),
    megabytes=st.integers(0, 3),
    used=st.builds(AttachmentUsage, st.integers(0, 6), st.integers(0, 4 * MEGABYTE)),
    size=st.integers(1, MAX_BYTES),
)
def test_quota_has_room_for_a_file_up_to_its_numbers(
    files: int, megabytes: int, used: AttachmentUsage, size: int
) -> None:
    has_room = (not files or used.files + 1 <= files) and (not megabytes or used.bytes + size <= megabytes * MEGABYTE)
    try:
        AttachmentQuota(files, megabytes).require_room(used, size)
    except AttachmentQuotaExceeded as error:
        assert not has_room
        assert str(files) in error.message or str(megabytes) in error.message
    else:
        assert has_room
