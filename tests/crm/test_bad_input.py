"""What a broken or hostile sender sends ends in the contract's 4xx, never in a 5xx."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest

from crm.email.content import NotificationEmailWriter
from crm.notification_store import MailClaim
from crm.notifications import read_notification
from tests.crm.parts import MailServer, a_message
from tests.support.standard_mail import received

JSON = {"Content-Type": "application/json"}
OUT_OF_RANGE = ["0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", "2100-01-01T00:00:00", "9999-12-31T23:59:59-14:00"]


def _beside(fragment: bytes) -> bytes:
    """A valid message but for the fragment, the value of an unknown field."""
    return json.dumps(a_message()).encode()[:-1] + b', "x": ' + fragment + b"}"


async def _refused(crm: httpx.AsyncClient, body: bytes) -> dict[str, object]:
    answer = await crm.post("/notify", content=body, headers=JSON)
    assert answer.status_code == 400
    error: dict[str, object] = answer.json()
    assert error["error"]
    assert error["message"]
    assert error["request_id"]
    assert (await crm.get("/notifications")).json() == []
    return error


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'"text"', id="string"),
        pytest.param(_beside(b'{"a":' * 1000 + b"1" + b"}" * 1000), id="nested 1,000 deep"),
        pytest.param(_beside(b"[" * 40 + b"]" * 40), id="nested 40 deep"),
        pytest.param(_beside(b"[" * 30000 + b"]" * 30000), id="nested 30,000 deep"),
        pytest.param(_beside(b'"\xff\xfe"'), id="invalid UTF-8"),
        pytest.param(b"\xef\xbb\xbf" + _beside(b"1"), id="byte order mark"),
        pytest.param(_beside(b'"\\ud800"'), id="lone surrogate"),
        pytest.param(_beside(b'"a\\u0000b"'), id="NUL in a value"),
        pytest.param(_beside(b'{"a\\u0000b": 1}'), id="NUL in a key"),
        pytest.param(_beside(b"9223372036854775808"), id="2^63"),
        pytest.param(_beside(b"-9223372036854775809"), id="below -2^63"),
        pytest.param(_beside(b"1" + b"0" * 400), id="10^400"),
        pytest.param(_beside(b"NaN"), id="NaN"),
        pytest.param(_beside(b"Infinity"), id="Infinity"),
        pytest.param(_beside(b"1e999999"), id="1e999999"),
    ],
)
async def test_malformed_body_returns_400_with_a_reason(refusing_crm: httpx.AsyncClient, body: bytes) -> None:
    assert (await _refused(refusing_crm, body))["code"] == "malformed_body"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"booking_id": "12"}, "booking_id"),
        ({"booking_id": True}, "booking_id"),
        ({"booking_id": 1.5}, "booking_id"),
        ({"booking_id": 0}, "booking_id"),
        ({"booking_id": -1}, "booking_id"),
        ({"user": "Ada"}, "user"),
        ({"user": {"email": 5}}, "user.email"),
        ({"event": 7}, "event"),
        ({"action": ""}, "action"),
        ({"action": 5}, "action"),
        ({"action": "x" * 65}, "action"),
        ({"facilitator_id": "2"}, "facilitator_id"),
        ({"event": {"date_time": "tomorrow"}}, "event.date_time"),
        *[
            (error, field)
            for moment in (
                "0001-01-01T00:00:00+14:00",
                "1969-12-31T23:59:59Z",
                "2100-01-01T00:00:00",
                "9999-12-31T23:59:59-14:00",
            )
            for error, field in (
                ({"event": {"date_time": moment}}, "event.date_time"),
                ({"event": {"start_datetime": moment}}, "event.start_datetime"),
                ({"event": {"end_datetime": moment}}, "event.end_datetime"),
                ({"occurred_at": moment}, "occurred_at"),
                ({"previous": {"start_datetime": moment}}, "previous.start_datetime"),
                ({"previous": {"end_datetime": moment}}, "previous.end_datetime"),
            )
        ],
        ({"event": {"max_participants": -1}}, "event.max_participants"),
    ],
)
async def test_invalid_value_returns_400_with_its_field(
    refusing_crm: httpx.AsyncClient, changes: dict[str, object], field: str
) -> None:
    error = await _refused(refusing_crm, json.dumps(a_message(**changes)).encode())
    assert (error["error"], error["code"]) == ("Validation error", "validation_error")
    assert isinstance(error["details"], dict)
    assert error["details"].keys() == {field}


@pytest.mark.parametrize("number", [b"1e-99999", b"1e-16000", b"1e-401", b"0." + b"0" * 20000 + b"1"])
async def test_number_beyond_the_database_range_returns_400(refusing_crm: httpx.AsyncClient, number: bytes) -> None:
    assert (await _refused(refusing_crm, _beside(number)))["code"] == "validation_error"


@pytest.mark.parametrize("written", ["1E+99999999", "1E-99999999", "9" * 25_000, "NaN", "a lot"])
async def test_invalid_amount_is_parsed_quickly_and_omitted_from_the_mail(
    crm: httpx.AsyncClient, mail_server: MailServer, written: str
) -> None:
    began = time.thread_time()
    message = a_message(action="payment_completed", amount=written)
    message["event"] |= {"price": written}
    answer = await crm.post("/notify", json=message)
    assert (answer.status_code, answer.json()["email_sent"]) == (200, True)
    # 1E+99999999 took a minute and 2 GB; a tenth of a second is many times the usual.
    assert time.thread_time() - began < 1
    [mail] = mail_server.mails
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert "Received" not in text
    assert "E+9" not in text


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "?"]
)
async def test_body_without_json_content_type_returns_415(
    refusing_crm: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await refusing_crm.post("/notify", content=json.dumps(a_message()).encode(), headers=headers)
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "application/vnd.x+json"])
async def test_other_json_content_types_are_accepted(crm: httpx.AsyncClient, content_type: str) -> None:
    body = json.dumps(a_message()).encode()
    assert (await crm.post("/notify", content=body, headers={"Content-Type": content_type})).status_code == 200


async def test_body_over_64_kib_returns_413(crm: httpx.AsyncClient) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1024

    answer = await crm.post("/notify", json=a_message(notes="x" * 65536))
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"
    assert (await crm.post("/notify", content=in_pieces(), headers=JSON)).status_code == 413
    assert (await crm.post("/notify", json=a_message(notes="x" * 60000))).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
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
async def test_invalid_query_returns_400(refusing_crm: httpx.AsyncClient, query: str) -> None:
    answer = await refusing_crm.get(f"/notifications?{query}")
    assert answer.status_code == 400
    assert answer.json()["details"].keys() == {query.partition("=")[0]}


async def test_list_rejects_an_unknown_parameter(crm: httpx.AsyncClient) -> None:
    answer = await crm.get("/notifications?bookingid=1")
    assert answer.status_code == 400
    assert answer.json()["details"] == {"bookingid": "Is not a parameter of this list: did you mean booking_id?"}
    answer = await crm.get("/api/facilitator/events/1?colour=red")
    assert answer.status_code == 400
    assert answer.json()["details"] == {"colour": "Is not a parameter of this list: known are limit, cursor"}


@pytest.mark.parametrize("booking_id", [b"1.0", b"1e3", b'"1"', b'"01a1f9252bc77096a9a62d6532b89802"'])
async def test_booking_id_has_one_json_type(refusing_crm: httpx.AsyncClient, booking_id: bytes) -> None:
    body = b'{"booking_id": %s, "user": {"id": 1}, "event": {"id": 1}, "facilitator_id": 1}' % booking_id
    refused = await _refused(refusing_crm, body)
    assert "UUID" in str(refused["details"])


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


async def test_user_text_is_escaped_in_mails() -> None:
    evil = "<script>alert(1)</script>{{7*7}} %s ${x}\r\nBcc: all@example.com\x1b[31m\u202e"
    event = {**a_message()["event"], "title": evil, "location": evil, "price": "NaN"}
    user = {"id": 1, "name": evil, "email": "a@example.com\r\nBcc: x@example.com"}
    for action in ("booking_created", "event_updated", evil[:60], "{0.__class__}"):
        message = a_message(action=action, user=user, event=event, notes=evil, booking_reference=evil)
        claim = MailClaim(
            1, UUID(int=1), read_notification(message), datetime.now(UTC), "J\r\nX: y", "john@example.com", 1
        )
        mail = received(NotificationEmailWriter("Convene <convene@localhost>").compose(claim))
        html, plain = mail.get_body(("html",)), mail.get_body(("plain",))
        assert html is not None
        assert plain is not None
        assert "<script>" not in html.get_content()
        assert "49" not in html.get_content()
        assert "\x1b" not in plain.get_content()
        assert "\u202e" not in mail["Subject"]
        assert mail["Bcc"] is None
        assert mail["X"] is None
