"""The sender for the CRM against servers that work and servers that fail."""

import asyncio
import base64
import gzip
import hmac
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from domain.outbox import Delivered, Failed, MessageType
from infrastructure.delivery.crm import CrmSender
from servicekit.http_sender import MOST_OF_AN_ANSWER
from tests.support.certificates import a_server
from tests.support.messages import a_message
from tests.support.receivers import Receiver, Request, answer, receiving


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def sender(crm: Receiver) -> AsyncIterator[CrmSender]:
    sender = CrmSender(f"{crm.url}/", "a-token", seconds=30)
    yield sender
    await sender.close()


@pytest.fixture
async def impatient_sender(crm: Receiver) -> AsyncIterator[CrmSender]:
    sender = CrmSender(f"{crm.url}/", "a-token", seconds=0.5)
    yield sender
    await sender.close()


async def test_booking_payload_has_the_shape_of_the_contract(crm: Receiver, sender: CrmSender) -> None:
    crm.always(answer(201, b'{"status": "success"}'))
    assert await sender.deliver(a_message()) == Delivered('{"status": "success"}', 201)
    [request] = crm.requests
    assert (request.method, request.path) == ("POST", "/notify")
    assert request.headers["authorization"] == "Bearer a-token"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == str(a_message().id)
    assert request.headers["x-request-id"] == "req-1"
    assert request.json == {
        "booking_id": 12,
        "booking_reference": "BK2026000012",
        "action": "booking_created",
        "occurred_at": "2026-11-20T13:08:10.123456Z",
        "user": {"id": 3, "name": "Ada Lovelace", "email": "ada@example.com"},
        "event": {
            "id": 7,
            "title": "Morning Yoga",
            "date_time": "2026-12-01T10:00:00Z",
            "start_datetime": "2026-12-01T10:00:00Z",
            "end_datetime": "2026-12-01T11:30:00Z",
            "location": "Studio B",
            "virtual_link": "https://meet.example.com/abc",
            "facilitator_id": 9,
            "max_participants": 15,
            "current_participants": 4,
            "is_active": True,
            "price": 30.5,
            "currency": "INR",
            "version": 5,
        },
        "facilitator_id": 9,
        "facilitator": {"id": 9, "name": "John Facilitator", "email": "john@example.com"},
        "status": "confirmed",
        "dispute": None,
        "payment_status": "completed",
        "notes": "Beginner level",
        "reason": None,
        "price": 30.5,
        "amount": None,
        "currency": "INR",
    }


async def test_event_message_has_no_booking_and_no_user(crm: Receiver, sender: CrmSender) -> None:
    message = a_message(MessageType.EVENT_CANCELLED, booking=None, user=None, event={"status": "cancelled"})
    assert isinstance(await sender.deliver(message), Delivered)
    body = crm.requests[0].json
    assert body["action"] == "event_cancelled"
    assert [body[name] for name in ("booking_id", "booking_reference", "user", "payment_status", "notes")] == [None] * 5
    assert body["event"]["is_active"] is False


@pytest.mark.parametrize(
    ("price", "currency", "written"),
    [("30.0000", "JPY", b"30"), ("1.2500", "KWD", b"1.250"), ("0.0000", "INR", b"0.00")],
)
async def test_price_is_a_number_with_the_decimals_of_its_currency(
    crm: Receiver, sender: CrmSender, price: str, currency: str, written: bytes
) -> None:
    await sender.deliver(a_message(event={"price": price, "currency": currency}))
    assert b'"price":' + written + b"," in crm.requests[0].body


async def test_times_with_an_offset_are_sent_in_utc(crm: Receiver, sender: CrmSender) -> None:
    await sender.deliver(a_message(event={"starts_at": "2026-12-01T15:30:00+05:30"}))
    assert crm.requests[0].json["event"]["date_time"] == "2026-12-01T10:00:00Z"


async def test_every_secret_signs_the_request(crm: Receiver) -> None:
    old, new = b"o" * 32, b"n" * 24
    other = b"another key, without the prefix"
    secrets = (f"whsec_{base64.b64encode(new).decode()}", base64.b64encode(other).decode())
    sender = CrmSender(crm.url, "t", signing_secrets=secrets)
    await sender.deliver(a_message())
    await sender.close()
    [request] = crm.requests
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = [base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in (new, other)]
    assert request.headers["webhook-id"] == request.message_id
    assert request.headers["webhook-signature"] == " ".join(f"v1,{signature}" for signature in expected)
    assert base64.b64encode(hmac.digest(old, signed, "sha256")).decode() not in request.headers["webhook-signature"]


@pytest.mark.parametrize(("held", "verifies"), [("new" * 11, True), ("old" * 11, True), ("nobody's" * 4, False)])
async def test_receiver_verifies_with_either_secret_during_rotation(crm: Receiver, held: str, verifies: bool) -> None:
    """As receivers do: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    key = base64.b64encode(held.encode()).decode()
    rotated = [base64.b64encode(each.encode()).decode() for each in ("new" * 11, "old" * 11)]
    sender = CrmSender(crm.url, "t", signing_secrets=[f"whsec_{each}" for each in rotated])
    await sender.deliver(a_message())
    await sender.close()
    [request] = crm.requests
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    own = base64.b64encode(hmac.digest(base64.b64decode(key), signed, "sha256")).decode()
    signatures = [each.removeprefix("v1,") for each in request.headers["webhook-signature"].split()]
    assert any(hmac.compare_digest(own, each) for each in signatures) is verifies


async def test_without_secrets_requests_are_not_signed(crm: Receiver, sender: CrmSender) -> None:
    await sender.deliver(a_message())
    assert not any(name.startswith("webhook-") for name in crm.requests[0].headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_2xx_is_delivered(crm: Receiver, sender: CrmSender, status: int) -> None:
    crm.always(answer(status, b""))
    assert await sender.deliver(a_message()) == Delivered("", status)


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        *((status, False) for status in (408, 410, 425, 429, 500, 502, 503, 504)),
        *((status, True) for status in (400, 401, 403, 404, 409, 422)),
    ],
)
async def test_temporary_errors_are_retried_and_permanent_ones_are_not(
    crm: Receiver, sender: CrmSender, status: int, permanent: bool
) -> None:
    crm.always(answer(status, b"no"))
    outcome = await sender.deliver(a_message())
    assert isinstance(outcome, Failed)
    assert (outcome.status_code, outcome.permanent) == (status, permanent)
    assert outcome.reason.endswith(": no")


@pytest.mark.parametrize(
    ("status", "destination_fault"),
    [
        (307, True),
        (408, True),
        (410, True),
        (429, True),
        (500, True),
        (503, True),
        (400, False),
        (422, False),
        (425, False),
    ],
)
async def test_destination_fault_depends_on_the_status(
    crm: Receiver, sender: CrmSender, status: int, destination_fault: bool
) -> None:
    crm.always(answer(status, b"no"))
    outcome = await sender.deliver(a_message())
    assert isinstance(outcome, Failed)
    assert (outcome.destination_fault, outcome.stop_destination) == (destination_fault, status == 410)


async def test_redirect_is_not_followed(crm: Receiver, sender: CrmSender) -> None:
    crm.always(answer(307, b"", Location=f"{crm.url}/elsewhere"))
    outcome = await sender.deliver(a_message())
    assert isinstance(outcome, Failed)
    assert not outcome.permanent
    assert [request.path for request in crm.requests] == ["/notify"]


async def test_retry_after_is_returned(crm: Receiver, sender: CrmSender) -> None:
    crm.always(answer(429, b"", Retry_After="120"))
    outcome = await sender.deliver(a_message())
    assert isinstance(outcome, Failed)
    assert outcome.retry_after == timedelta(seconds=120)


async def test_retry_after_date_is_relative_to_the_server_clock(crm: Receiver, sender: CrmSender) -> None:
    """Our clock differs from it by years."""
    crm.always(answer(503, b"", Date="Thu, 20 Nov 2036 12:00:00 GMT", Retry_After="Thu, 20 Nov 2036 12:10:00 GMT"))
    outcome = await sender.deliver(a_message())
    assert isinstance(outcome, Failed)
    assert outcome.retry_after == timedelta(minutes=10)


async def _silence(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
    await asyncio.sleep(3600)
    return b""


async def _headers_then_silence(request: Request, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    return await _silence(request, writer)


async def _a_byte_now_and_then(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("behave", [_silence, _headers_then_silence, _a_byte_now_and_then])
async def test_server_without_a_complete_answer_times_out(
    crm: Receiver, behave: object, impatient_sender: CrmSender
) -> None:
    crm.behave = behave  # type: ignore[assignment]
    outcome = await impatient_sender.deliver(a_message())
    assert outcome == Failed("no complete answer within 0.5 s", destination_fault=True)


async def test_only_the_beginning_of_a_large_answer_is_read(crm: Receiver, sender: CrmSender) -> None:
    crm.always(answer(200, b"x" * 10_000_000))
    assert await sender.deliver(a_message()) == Delivered("x" * MOST_OF_AN_ANSWER, 200)


async def test_endless_answer_is_cut_off(crm: Receiver, sender: CrmSender) -> None:
    written = 0

    async def ten_gigabytes(_request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while written < 10_000_000_000:
            writer.write(b"x" * 100_000)
            await writer.drain()
            written += 100_000

    crm.behave = ten_gigabytes
    assert await sender.deliver(a_message()) == Delivered("x" * MOST_OF_AN_ANSWER, 200)
    # What the two sockets hold between them, and no more.
    assert written < 20_000_000


async def test_compressed_answer_is_not_decompressed(crm: Receiver, sender: CrmSender) -> None:
    bomb = gzip.compress(b"\x00" * 10_000_000)
    crm.always(answer(200, bomb, Content_Encoding="gzip"))
    outcome = await sender.deliver(a_message())
    assert isinstance(outcome, Delivered)
    assert len(outcome.answer) <= len(bomb)
    assert crm.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [200, 503])
async def test_non_ascii_reason_phrase_is_accepted(crm: Receiver, sender: CrmSender, status: int) -> None:
    crm.always(f"HTTP/1.1 {status} très bien\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
    outcome = await sender.deliver(a_message())
    assert isinstance(outcome, Delivered if status == 200 else Failed)
    assert outcome.status_code == status


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/1.1 abc X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::bad\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_invalid_answer_is_a_destination_fault(crm: Receiver, sender: CrmSender, raw: bytes) -> None:
    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    crm.behave = behave
    outcome = await sender.deliver(a_message())
    assert isinstance(outcome, Failed)
    assert (outcome.permanent, outcome.destination_fault) == (False, True)


async def test_cookie_is_not_sent_with_the_next_message(crm: Receiver, sender: CrmSender) -> None:
    crm.always(answer(200, b"", Set_Cookie="session=1; Path=/"))
    await sender.deliver(a_message())
    await sender.deliver(a_message())
    assert "cookie" not in crm.requests[1].headers


async def test_invalid_host_is_a_destination_fault() -> None:
    sender = CrmSender(f"http://{'a' * 70}.example", "t")
    outcome = await sender.deliver(a_message())
    await sender.close()
    assert isinstance(outcome, Failed)
    assert outcome.destination_fault


async def test_broken_connection_is_retried(crm: Receiver, sender: CrmSender) -> None:
    async def hang_up(_request: Request, _writer: asyncio.StreamWriter) -> None:
        return None

    crm.behave = hang_up
    outcome = await sender.deliver(a_message())
    assert isinstance(outcome, Failed)
    assert not outcome.permanent
    crm.behave = None
    assert isinstance(await sender.deliver(a_message()), Delivered)


async def test_refused_connection_is_retried() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sender = CrmSender(f"http://127.0.0.1:{taken.getsockname()[1]}", "t")
        outcome = await sender.deliver(a_message())
        await sender.close()
    assert isinstance(outcome, Failed)
    assert not outcome.permanent


async def test_system_proxy_is_not_used(crm: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        sender = CrmSender(crm.url, "t")
        assert isinstance(await sender.deliver(a_message()), Delivered)
        await sender.close()
    assert (len(crm.requests), len(proxy.requests)) == (1, 0)


@pytest.mark.parametrize(
    ("address", "days", "known", "delivers"),
    [
        ("127.0.0.1", 2, True, True),
        ("127.0.0.1", 2, False, False),
        ("127.0.0.1", 1, True, False),
        ("127.0.0.2", 2, True, False),
    ],
    ids=["sound", "of nobody known", "expired", "of another"],
)
async def test_only_a_server_with_a_valid_certificate_gets_messages(
    crm: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    days: int,
    known: bool,
    delivers: bool,
) -> None:
    context, trusted = a_server(tmp_path, address=address, days=days)
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    server = await asyncio.start_server(crm.serve, "127.0.0.1", ssl=context)
    sender = CrmSender(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", "t")
    outcome = await sender.deliver(a_message())
    await sender.close()
    server.close()
    assert isinstance(outcome, Delivered) == delivers == bool(crm.requests), outcome
    assert delivers or (isinstance(outcome, Failed) and outcome.destination_fault and not outcome.permanent)
