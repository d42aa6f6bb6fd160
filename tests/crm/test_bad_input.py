"""What a broken or hostile sender sends ends in the contract's 4xx, never in a 5xx."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.crm.parts import a_message

JSON = {"Content-Type": "application/json"}


def _with(**event: object) -> bytes:
    return json.dumps(a_message(event=event)).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'"text"', id="string"),
        pytest.param(b'{"a":' * 1000 + b"1" + b"}" * 1000, id="nested 1,000 deep"),
        pytest.param(b'{"x":' + b"[" * 40 + b"]" * 40 + b"}", id="nested 40 deep"),
        pytest.param(b'{"x":' + b"[" * 30000 + b"]" * 30000 + b"}", id="nested 30,000 deep"),
        pytest.param(b'{"booking_id": "\xff\xfe"}', id="invalid UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"booking_id": 1}', id="byte order mark"),
        pytest.param(b'{"x": "\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"x": "a\\u0000b"}', id="NUL in a value"),
        pytest.param(b'{"a\\u0000b": 1}', id="NUL in a key"),
        pytest.param(b'{"x": 9223372036854775808}', id="2^63"),
        pytest.param(b'{"x": -9223372036854775809}', id="below -2^63"),
        pytest.param(b'{"x": 1' + b"0" * 400 + b"}", id="10^400"),
        pytest.param(b'{"x": NaN}', id="NaN"),
        pytest.param(b'{"x": Infinity}', id="Infinity"),
        pytest.param(b'{"x": 1e999999}', id="1e999999"),
        pytest.param(json.dumps(a_message(booking_id="12")).encode(), id="booking_id as a string"),
        pytest.param(json.dumps(a_message(booking_id=True)).encode(), id="booking_id true"),
        pytest.param(json.dumps(a_message(booking_id=1.5)).encode(), id="booking_id 1.5"),
        pytest.param(json.dumps(a_message(booking_id=0)).encode(), id="booking_id 0"),
        pytest.param(json.dumps(a_message(booking_id=-1)).encode(), id="booking_id negative"),
        pytest.param(json.dumps(a_message(user="Ada")).encode(), id="user as a string"),
        pytest.param(json.dumps(a_message(event=7)).encode(), id="event as a number"),
        pytest.param(json.dumps(a_message(action="")).encode(), id="empty action"),
        pytest.param(json.dumps(a_message(action=5)).encode(), id="action as a number"),
        pytest.param(json.dumps(a_message(action="x" * 65)).encode(), id="long action"),
        pytest.param(_with(date_time="tomorrow"), id="no date"),
        pytest.param(_with(date_time="0001-01-01T00:00:00+14:00"), id="before year one in UTC"),
        pytest.param(_with(date_time="9999-12-31T23:59:59-14:00"), id="after year 9999 in UTC"),
        pytest.param(_with(max_participants=-1), id="negative places"),
    ],
)
async def test_a_bad_body_is_a_400_that_says_why(crm: httpx.AsyncClient, body: bytes) -> None:
    answer = await crm.post("/notify", content=body, headers=JSON)
    assert answer.status_code == 400
    told = answer.json()
    assert told["error"]
    assert told["message"]
    assert told["code"] in ("malformed_body", "validation_error", "missing_fields")
    assert told["request_id"]
    assert (await crm.get("/notifications")).json() == []


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "?"]
)
async def test_a_body_that_is_not_called_json_is_a_415(crm: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await crm.post("/notify", content=json.dumps(a_message()).encode(), headers=headers)
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "application/vnd.x+json"])
async def test_json_by_its_other_names_is_taken(crm: httpx.AsyncClient, content_type: str) -> None:
    body = json.dumps(a_message()).encode()
    assert (await crm.post("/notify", content=body, headers={"Content-Type": content_type})).status_code == 200


async def test_a_body_over_64_kib_is_a_413(crm: httpx.AsyncClient) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1024

    answer = await crm.post("/notify", json=a_message(notes="x" * 65536))
    assert answer.status_code == 413
    assert answer.json()["code"] == "request_entity_too_large"
    assert (await crm.post("/notify", content=in_pieces(), headers=JSON)).status_code == 413
    assert (await crm.post("/notify", json=a_message(notes="x" * 60000))).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=+1",
        "limit=1_0",
        "limit=%D9%A1",
        "limit=",
        "limit=1&limit=2",
        "cursor=x",
        "cursor=9223372036854775808",
        "booking_id=-1",
        "booking_id=99999999999999999999999",
        "message_id=%00",
    ],
)
async def test_a_bad_query_is_a_400(crm: httpx.AsyncClient, query: str) -> None:
    answer = await crm.get(f"/notifications?{query}")
    assert answer.status_code == 400
    assert answer.json()["details"].keys() == {query.partition("=")[0]}


async def test_unknown_paths_and_methods_have_the_same_error_shape(crm: httpx.AsyncClient) -> None:
    lost = await crm.get("/nowhere/%00")
    assert lost.status_code == 404
    assert lost.json() == {
        "error": "Not Found",
        "message": "The requested resource was not found",
        "code": "not_found",
        "request_id": lost.headers["x-request-id"],
    }
    wrong = await crm.put("/notify", json={})
    assert wrong.status_code == 405
    assert wrong.json()["code"] == "method_not_allowed"
    assert "POST" in wrong.headers["allow"]


async def test_other_peoples_words_are_inert_in_a_mail() -> None:
    from datetime import UTC, datetime
    from uuid import UUID

    from crm.letters import LetterWriter
    from crm.notifications import read_notification
    from crm.store import Claim

    evil = "<script>alert(1)</script>{{7*7}} %s ${x}\r\nBcc: all@example.com\x1b[31m\u202e"
    event = {**a_message()["event"], "title": evil, "location": evil, "price": "NaN"}
    user = {"id": 1, "name": evil, "email": "a@example.com\r\nBcc: x@example.com"}
    for action in ("booking_created", "event_updated", evil[:60], "{0.__class__}"):
        message = a_message(action=action, user=user, event=event, notes=evil, booking_reference=evil)
        claim = Claim(1, UUID(int=1), read_notification(message), datetime.now(UTC), "J\r\nX: y", "john@example.com", 1)
        mail = LetterWriter("Convene <convene@localhost>").compose(claim)
        html, plain = mail.get_body(("html",)), mail.get_body(("plain",))
        assert html is not None
        assert plain is not None
        assert "<script>" not in html.get_content()
        assert "49" not in html.get_content()
        assert "\x1b" not in plain.get_content()
        assert "\u202e" not in mail["Subject"]
        assert mail["Bcc"] is None
        assert mail["X"] is None
