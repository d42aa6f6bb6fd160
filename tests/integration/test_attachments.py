"""Files of a booking: for its people alone, stored by a browser and never shown, no larger and no more than said."""

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from domain.attachments import DEFAULT_QUOTA, MAX_ATTACHMENTS, MAX_BYTES
from tests.support.appointments import at, books, uuid_of
from tests.support.people import People, Person

OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
async def jane(shared_people: People) -> Person:
    return await shared_people.facilitator("Jane Smith")


@pytest.fixture(scope="module")
async def stranger(shared_people: People) -> Person:
    return await shared_people.facilitator("Mallory")


@pytest.fixture(scope="module")
async def booking(jane: Person, ada: Person) -> str:
    booked = await books(ada, await uuid_of(jane), at(10))
    return str(booked["id"])


@pytest.fixture
async def path(booking: str, shared_database: asyncpg.Connection) -> str:
    """Of the booking's attachments, of which there are none yet."""
    await shared_database.execute("DELETE FROM coaching_attachments")
    return f"/booking/{booking}/attachments"


async def sends(
    person: Person, path: str, content: bytes = b"hello", name: str = "goals.txt", kind: str = "text/plain"
) -> httpx.Response:
    return await person.api.post(path, headers=person.headers, files={"file": (name, content, kind)})


async def added(person: Person, path: str, *given: Any) -> dict[str, Any]:
    answer = await sends(person, path, *given)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_file_is_downloaded_unchanged(path: str, ada: Person, jane: Person) -> None:
    content = bytes(range(256)) * 40
    body = await added(ada, path, content, "Zürich “plan”.pdf", "application/pdf; charset=x")
    assert (body["filename"], body["media_type"], body["size"]) == ("Zürich “plan”.pdf", "application/pdf", 10240)
    assert body["uploaded_by"] == await uuid_of(ada)
    assert (await jane.get(path)).json() == {"attachments": [body]}
    answer = await jane.get(f"{path}/{body['id']}")
    assert answer.content == content
    assert answer.headers["content-type"] == OCTETS
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"Z_rich _plan_.pdf\"; filename*=UTF-8''Z%C3%BCrich%20%E2%80%9Cplan%E2%80%9D.pdf"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"] == "sandbox"


async def test_other_users_cannot_list_add_or_download_attachments(path: str, ada: Person, stranger: Person) -> None:
    body = await added(ada, path)
    view, change = "Unauthorized to view this booking", "Unauthorized to update this booking"
    refused = [
        (await stranger.get(path), view),
        (await stranger.get(f"{path}/{body['id']}"), view),
        (await sends(stranger, path), change),
        (await stranger.delete(f"{path}/{body['id']}"), change),
    ]
    assert [(answer.status_code, answer.json()["detail"]) for answer, _ in refused] == [
        (403, why) for _, why in refused
    ]
    answer = await ada.api.post(path, files={"file": ("x", b"x", OCTETS)})
    assert (answer.status_code, answer.json()["detail"]) == (401, "Not authenticated")
    assert len((await ada.get(path)).json()["attachments"]) == 1


@pytest.mark.parametrize("token", [None, "Bearer x", "Basic eDp4", "Bearer \xff"])
async def test_unauthenticated_upload_is_rejected_before_its_body(path: str, ada: Person, token: str | None) -> None:
    """The 401 is sent before the body is received."""
    url = ada.api.base_url
    lines = [f"POST {path} HTTP/1.1", f"Host: {url.host}", f"Content-Length: {MAX_BYTES}"]
    lines.append("Content-Type: multipart/form-data; boundary=b")
    if token:
        lines.append(f"Authorization: {token}")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readuntil(b"}")
    finally:
        writer.close()
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"www-authenticate: bearer" in head.lower()
    assert json.loads(body)["detail"] == "Not authenticated"


@pytest.mark.parametrize("name", ["..", "/", "a\nb.txt", "a\rSet-Cookie: x", "a\0.txt", "x" * 201, "\x7f"])
async def test_invalid_filename_is_rejected(path: str, ada: Person, name: str) -> None:
    # As a raw form: httpx would escape what a hostile client does not.
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\nx\r\n--b--\r\n' % name.encode()
    headers = {**ada.headers, "Content-Type": "multipart/form-data; boundary=b"}
    answer = await ada.api.post(path, content=form, headers=headers)
    assert answer.status_code == 400, answer.text
    assert (await ada.get(path)).json() == {"attachments": []}


async def test_five_megabytes_are_accepted_and_no_more(path: str, ada: Person) -> None:
    body = await added(ada, path, b"x" * MAX_BYTES)
    assert body["size"] == MAX_BYTES
    answer = await sends(ada, path, b"x" * (MAX_BYTES + 1))
    assert (answer.status_code, answer.json()["detail"]) == (400, "file: Must be at most 5 MB")
    answer = await sends(ada, path, b"x" * (MAX_BYTES + 70_000))
    assert (answer.status_code, answer.json()["detail"]) == (413, "Request body is larger than 5184 KiB")
    answer = await sends(ada, path, b"")
    assert (answer.status_code, answer.json()["detail"]) == (400, "file: Must not be empty")


async def test_other_paths_keep_their_body_limit(ada: Person, booking: str) -> None:
    for elsewhere in ("/booking", f"/booking/{booking}/attachments/x", "/events"):
        answer = await sends(ada, elsewhere, b"x" * 70_000)
        assert answer.status_code in {405, 413}, elsewhere


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"no form"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--b--\r\n',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nx\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: y\r\n" * 20_000),
        ("multipart/form-data; boundary=b", b"--b\r\n\xff\xfe: \0\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=\xff", b"--b--"),
        ("multipart/form-data; boundary=" + "b" * 5000, b"--b--"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 5000 + b"--b--\r\n",
        ),
    ],
)
async def test_malformed_form_is_rejected(path: str, ada: Person, content_type: str, form: bytes) -> None:
    headers = {b"Authorization": ada.headers["Authorization"].encode(), b"Content-Type": content_type.encode("latin-1")}
    answer = await ada.api.post(path, content=form, headers=headers)
    assert answer.status_code == 400, answer.text
    assert (await ada.get(path)).json() == {"attachments": []}


async def test_two_files_in_one_form_are_rejected(path: str, ada: Person) -> None:
    files = [("file", ("a", b"a", OCTETS)), ("file", ("b", b"b", OCTETS))]
    answer = await ada.api.post(path, headers=ada.headers, files=files)
    assert answer.status_code == 400, answer.text


async def test_json_body_is_rejected(path: str, ada: Person) -> None:
    answer = await ada.post(path, json={"file": "x"})
    assert (answer.status_code, answer.json()["detail"]) == (415, "Content-Type must be multipart/form-data")


async def test_booking_has_at_most_twenty_attachments_with_concurrent_uploads(path: str, ada: Person) -> None:
    answers = await asyncio.gather(*(sends(ada, path, b"x", f"{number}") for number in range(MAX_ATTACHMENTS + 4)))
    counted = [answer.status_code for answer in answers]
    assert (counted.count(201), counted.count(400)) == (MAX_ATTACHMENTS, 4)
    assert {a.json()["detail"] for a in answers if a.status_code == 400} == {"A booking has at most 20 attachments"}
    assert len((await ada.get(path)).json()["attachments"]) == MAX_ATTACHMENTS


async def test_account_with_as_many_attachments_as_allowed_adds_one_after_it_deleted_one(
    path: str, ada: Person, jane: Person, shared_database: asyncpg.Connection
) -> None:
    """In all its bookings, by default a thousand."""
    first = await added(ada, path)
    await shared_database.execute(
        """INSERT INTO coaching_attachments (booking_id, uploaded_by, filename, media_type, content, created_at)
        SELECT booking_id, uploaded_by, filename, media_type, content, created_at
        FROM coaching_attachments, generate_series(1, $1)""",
        DEFAULT_QUOTA.files - 1,
    )
    # Those are of another booking, so that this one has room.
    await shared_database.execute(
        """WITH copied AS (
            INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status,
                payment_status, price, currency, refund_policy, created_at, updated_at)
            SELECT client_id, coach_id, starts_at, ends_at, busy_from, busy_until, 'completed', payment_status, price,
                currency, refund_policy, created_at, updated_at
            FROM coaching_bookings WHERE id = (SELECT booking_id FROM coaching_attachments LIMIT 1)
            RETURNING id
        ) UPDATE coaching_attachments SET booking_id = copied.id FROM copied WHERE coaching_attachments.id <> $1""",
        UUID(first["id"]),
    )
    answer = await sends(ada, path)
    assert (answer.status_code, answer.json()["code"]) == (400, "attachment_quota_exceeded")
    assert answer.json()["detail"].startswith("You have 1000 attachments, and 1000 are allowed. ")
    await added(jane, path)
    assert (await ada.delete(f"{path}/{first['id']}")).status_code == 204
    await added(ada, path)


async def test_attachment_of_an_unknown_booking_is_rejected(ada: Person, path: str) -> None:
    for nothing in ("019bb1c6-5a00-7000-8000-000000000009", "x"):
        answer = await sends(ada, f"/booking/{nothing}/attachments")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Booking not found")
    answer = await ada.get(f"{path}/1")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Attachment not found")


async def test_same_key_adds_an_attachment_once(path: str, ada: Person) -> None:
    files = {"file": ("a", b"a", OCTETS)}
    request = ada.api.build_request("POST", path, headers={**ada.headers, "Idempotency-Key": "k-1"}, files=files)
    body = await request.aread()
    again = httpx.Request("POST", request.url, headers=request.headers, content=body)
    first, second = await ada.api.send(request), await ada.api.send(again)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert len((await ada.get(path)).json()["attachments"]) == 1
