"""The HTTP sender against servers that answer, and servers that do not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from servicekit.clock import machine_time
from servicekit.http_sender import MOST_OF_AN_ANSWER, Answer, HttpSender, NoAnswer, retry_after
from servicekit.signatures import verify
from tests.support.receivers import Behaviour, Receiver, Request, answer, receiving

KEY = b"k" * 32


@pytest.fixture
async def server() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def posted(url: str, *, seconds: float = 30, times: int = 1) -> Answer:
    sender = HttpSender(f"{url}/hook", "a-token", user_agent="Tests", keys=[KEY], seconds=seconds)
    try:
        for _ in range(times):
            found = await sender.post(b'{"a": 1}', "id-1", {"X-Request-ID": "req-1"})
        return found
    finally:
        await sender.close()


async def test_request_is_authenticated_identified_and_signed(server: Receiver) -> None:
    server.always(answer(202, b"{}"))
    assert await posted(server.url) == Answer(202, "Accepted", "{}", None)
    [request] = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/hook", b'{"a": 1}')
    assert request.headers["authorization"] == "Bearer a-token"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"] == "Tests"
    assert request.headers["idempotency-key"] == request.headers["webhook-id"] == "id-1"
    assert request.headers["x-request-id"] == "req-1"
    verify(request.headers, request.body, [KEY], machine_time())


@pytest.mark.parametrize(
    ("status", "accepted", "permanent"),
    [
        *((status, True, False) for status in (200, 201, 204)),
        *((status, False, False) for status in (307, 408, 425, 429, 500, 503)),
        *((status, False, True) for status in (400, 401, 404, 409, 410, 422)),
    ],
)
async def test_client_error_is_permanent_except_timeouts_and_rate_limits(
    server: Receiver, status: int, accepted: bool, permanent: bool
) -> None:
    server.always(answer(status, b"no" if not accepted else b""))
    found = await posted(server.url)
    assert (found.status, found.accepted, found.permanent) == (status, accepted, permanent)
    assert str(found).startswith(f"{status} ")
    assert str(found).endswith(": no") == (not accepted)


async def test_redirect_is_not_followed_and_cookies_are_not_kept(server: Receiver) -> None:
    server.always(answer(307, b"", Location=f"{server.url}/elsewhere", Set_Cookie="session=1; Path=/"))
    await posted(server.url, times=2)
    assert [request.path for request in server.requests] == ["/hook"] * 2
    assert all("cookie" not in request.headers for request in server.requests)


async def test_invalid_location_of_a_redirect_is_not_read(server: Receiver) -> None:
    server.always(answer(302, b"", Location="http://[::bad"))
    found = await posted(server.url)
    assert (found.status, found.accepted, found.permanent) == (302, False, False)


async def test_only_the_beginning_of_a_long_body_is_read(server: Receiver) -> None:
    server.always(answer(200, b"x" * 10_000_000))
    assert (await posted(server.url)).body == "x" * MOST_OF_AN_ANSWER


async def test_retry_after_date_is_relative_to_the_server_clock(server: Receiver) -> None:
    server.always(answer(503, b"", Date="Thu, 20 Nov 2036 12:00:00 GMT", Retry_After="Thu, 20 Nov 2036 12:10:00 GMT"))
    assert (await posted(server.url)).retry_after == timedelta(minutes=10)


async def _silence(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
    await asyncio.sleep(3600)
    return b""


async def _a_byte_now_and_then(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("behave", [_silence, _a_byte_now_and_then])
async def test_exchange_ends_after_its_timeout(server: Receiver, behave: Behaviour) -> None:
    server.behave = behave
    with pytest.raises(NoAnswer, match=r"^no complete answer within 0\.3 s$"):
        await posted(server.url, seconds=0.3)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc",
    ],
)
async def test_non_http_answer_raises_no_answer(server: Receiver, raw: bytes) -> None:
    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    server.behave = behave
    with pytest.raises(NoAnswer):
        await posted(server.url)


async def test_invalid_host_raises_no_answer() -> None:
    with pytest.raises(NoAnswer):
        await posted(f"http://{'a' * 70}.example")


NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1", 1),
        ("3600", 3600),
        ("90000", 86400),
        ("9" * 5000, 86400),
        ("Fri, 20 Nov 2026 12:10:00 GMT", 600),
        ("Fri, 20 Nov 2026 11:10:00 GMT", None),
        ("Fri, 20 Nov 2099 12:10:00 GMT", 86400),
        ("0", None),
        ("abc", None),
        ("-5", None),
        ("1e309", None),
        ("²", None),
        ("Fri, 99 Nov 2026 12:10:00 GMT", None),
        ("Fri, 20 Nov 2026 12:10:00 +99999999999999", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_invalid_values_are_ignored(
    header: str | None, seconds: int | None
) -> None:
    assert retry_after(header, NOW) == (None if seconds is None else timedelta(seconds=seconds))
