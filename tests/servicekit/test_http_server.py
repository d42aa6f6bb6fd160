"""Limits on heads, bodies and connections, over real sockets."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from servicekit import http_connections
from servicekit.http_limits import HttpLimits
from servicekit.http_server import server_options
from tests.support.http import serving

LIMITS = HttpLimits(
    max_connections=4,
    max_idle_connections=3,
    max_streams=2,
    head_seconds=1,
    body_seconds=1,
    idle_seconds=1,
    operator_paths=frozenset({"/health"}),
    stream_paths=frozenset({"/stream"}),
)
PATIENT = replace(LIMITS, head_seconds=60, body_seconds=60, idle_seconds=60)
PATIENCE = 30
"""Seconds after which a test gives up."""


def error_body(path: str | None, method: str, status: int, code: str, message: str, request_id: str) -> bytes:
    return json.dumps(
        {"path": path, "method": method, "status": status, "code": code, "message": message, "id": request_id}
    ).encode()


@dataclass
class App:
    """Answers what it was asked; `/slow` waits for `release`, `/stream` and WebSockets until they are left."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    left: int = 0
    heads: list[dict[bytes, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.heads.append(dict(scope["headers"]))
        if scope["path"] == "/slow":
            await self.release.wait()
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        body = b""
        if scope["path"] == "/refuses":
            await _respond(send, 413, b"too large")
            return
        if scope["method"] != "GET":
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.left += 1
                    return
                body += message["body"]
                more = message["more_body"]
        await _respond(send, 200, scope["path"].encode() + b" " + body)


async def _live(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _respond(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def refusal(self) -> dict[str, Any]:
        assert self.headers["connection"] == "close"
        assert self.headers["content-type"] == "application/json"
        assert self.headers["x-sound"] == "yes"
        error: dict[str, Any] = json.loads(self.body)
        assert (error["status"], error["id"]) == (self.status, self.headers["x-request-id"])
        return error


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def answer(self, *, head_only: bool = False) -> Answer:
        async with asyncio.timeout(PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in fields)}
            length = 0 if head_only else int(headers.get("content-length", 0))
            return Answer(int(line.split()[1]), headers, await self._reader.readexactly(length))

    async def get(self, path: str = "/x", *fields: str, method: str = "GET") -> Answer:
        await self.send(request(path, *fields, method=method))
        return await self.answer(head_only=method == "HEAD")

    async def closed(self) -> bytes:
        """What came before the end."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    def is_open(self) -> bool:
        return not self._reader.at_eof()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@dataclass
class Site:
    address: str
    app: App
    _peers: list[Peer] = field(default_factory=list)

    async def connect(self) -> Peer:
        parts = urlsplit(self.address)
        peer = Peer(*await asyncio.open_connection(parts.hostname, parts.port))
        self._peers.append(peer)
        return peer

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()


def request(path: str = "/x", *fields: str, method: str = "GET", host: str | None = "a.example") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextlib.asynccontextmanager
async def site(limits: HttpLimits | None = LIMITS) -> AsyncIterator[Site]:
    """None: uvicorn as it is, the negative control."""
    app = App()
    options = server_options(limits, error_body, headers=((b"x-sound", b"yes"),), sockets=True) if limits else {}
    async with serving(app, **options) as address:
        here = Site(address, app)
        try:
            yield here
        finally:
            app.release.set()
            await here.close()


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Site]:
    async with site(PATIENT) as here:
        yield here


@pytest.fixture
async def peer(shared: Site) -> AsyncIterator[Peer]:
    peer = await shared.connect()
    yield peer
    await peer.close()


@pytest.fixture
def young(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections may be closed to make room from the first moment on."""
    monkeypatch.setattr(http_connections, "YOUNG_SECONDS", 0)


# Heads


async def test_incomplete_head_times_out_and_without_limits_it_does_not() -> None:
    async with site() as limited, site(None) as bare:
        silent, halfway = await limited.connect(), await limited.connect()
        kept = await bare.connect()
        for each in (halfway, kept):
            await each.send(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Half: ")
        assert await silent.closed() == b""
        assert (await halfway.answer()).refusal() | {"id": ""} == {
            "path": "/x",
            "method": "GET",
            "status": 408,
            "code": "request_timeout",
            "message": "The request took too long to arrive",
            "id": "",
        }
        assert await halfway.closed() == b""
        assert kept.is_open()


async def test_slow_bytes_do_not_extend_the_head_timeout() -> None:
    async with site() as here:
        peer = await here.connect()

        async def trickle() -> None:
            await peer.send(b"GET /x HTTP/1.1\r\nHost: a\r\n")
            while peer.is_open():
                await peer.send(b"X: y\r\n")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert (await peer.answer()).status == 408
        trickling.cancel()


async def test_idle_connection_is_closed_also_with_blank_lines() -> None:
    async with site() as here:
        idle, blank = await here.connect(), await here.connect()
        assert (await idle.get()).status == (await blank.get()).status == 200

        async def blanks() -> None:
            while blank.is_open():
                await blank.send(b"\r\n")
                await asyncio.sleep(0.05)

        sending = asyncio.create_task(blanks())
        assert await idle.closed() == b""
        assert (await blank.answer()).status == 408
        sending.cancel()


@pytest.mark.parametrize(
    ("endless", "status", "code"),
    [
        (b"GET /" + b"x" * 40_000, 414, "target_too_long"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000, 431, "head_too_large"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5_000)), 431, "head_too_large"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 129 + b"\r\n", 431, "head_too_large"),
        (b"\r\n" * 20_000, 431, "head_too_large"),
    ],
    ids=["target", "value", "fields", "too many fields", "blank lines"],
)
async def test_head_over_the_limits_is_rejected(peer: Peer, endless: bytes, status: int, code: str) -> None:
    await peer.send(endless)
    refusal = (await peer.answer()).refusal()
    assert (refusal["status"], refusal["code"]) == (status, code)
    assert refusal["path"] == (None if status == 414 or endless.startswith(b"\r") else "/x")


async def test_head_of_many_megabytes_is_rejected_and_read_to_its_end(shared: Site) -> None:
    """Otherwise the connection is reset, and the client does not see the answer."""
    peer = await shared.connect()
    await peer.send(b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000_000)
    assert (await peer.answer()).status == 431


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.one_of(st.integers(100, 40_000), st.integers(32_700, 32_800)), cut=st.integers(1, 40_000))
async def test_head_of_exactly_the_limit_is_accepted_however_it_is_split(shared: Site, size: int, cut: int) -> None:
    """The request line counts without its method and version, each field with its separators."""
    limit = LIMITS.head_bytes
    head = request("/x", "X: ")
    filled = request("/x", "X: " + "y" * (size - len(head)))
    counted = len(filled) - len(b"GET  HTTP/1.1\r\n") - len(b"\r\n")
    peer = await shared.connect()
    await peer.send(filled[:cut])
    await asyncio.sleep(0)
    await peer.send(filled[cut:])
    answer = await peer.answer()
    if size <= limit:
        assert answer.status == 200
    elif counted > limit:
        assert answer.status == 431
    await peer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n",
        b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a@b\r\n\r\n",
    ],
)
async def test_request_needs_exactly_one_valid_host(peer: Peer, head: bytes) -> None:
    await peer.send(head)
    refusal = (await peer.answer()).refusal()
    assert (refusal["status"], refusal["code"], refusal["path"]) == (400, "invalid_host", "/x")
    assert await peer.closed() == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:5000\r\n\r\n",
        b"GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ],
)
async def test_valid_hosts_are_served(peer: Peer, head: bytes) -> None:
    await peer.send(head)
    answer = await peer.answer()
    assert (answer.status, answer.body) == (200, b"/x ")


async def test_non_http_bytes_are_answered_with_a_json_error(peer: Peer) -> None:
    await peer.send(b"\x16\x03\x01\x02\x00\x01\x00")
    refusal = (await peer.answer()).refusal()
    assert (refusal["status"], refusal["code"], refusal["path"]) == (400, "bad_request", None)


# Bodies


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_incomplete_body_times_out_and_without_limits_it_does_not(framing: str) -> None:
    async with site() as limited, site(None) as bare:
        slow, kept = await limited.connect(), await bare.connect()
        for each in (slow, kept):
            await each.send(request("/x", framing, method="POST") + b"2\r\nab\r\n")
        refusal = (await slow.answer()).refusal()
        assert (refusal["status"], refusal["code"], refusal["method"]) == (408, "request_timeout", "POST")
        assert await slow.closed() == b""
        assert (limited.app.left, bare.app.left) == (1, 0)
        assert kept.is_open()


async def test_chunk_framing_is_limited(peer: Peer) -> None:
    await peer.send(request("/x", "Transfer-Encoding: chunked", method="POST") + b"1;" + b"x" * 60_000)
    assert (await peer.answer()).refusal()["code"] == "bad_request"


@pytest.mark.parametrize("chunks", [10, 20_000])
async def test_body_in_small_chunks_is_read_and_trailers_are_not_headers(peer: Peer, shared: Site, chunks: int) -> None:
    body = b"".join(b"1;a=b\r\nx\r\n" for _ in range(chunks)) + b"0\r\nHost: b\r\nAuthorization: c\r\n\r\n"
    await peer.send(request("/x", "Transfer-Encoding: chunked", method="POST") + body)
    answer = await peer.answer()
    assert (answer.status, answer.body) == (200, b"/x " + b"x" * chunks)
    assert b"authorization" not in shared.app.heads[-1]
    assert shared.app.heads[-1][b"host"] == b"a.example"


async def test_trailers_are_limited(peer: Peer) -> None:
    await peer.send(request("/x", "Transfer-Encoding: chunked", method="POST") + b"0\r\nX: " + b"y" * 60_000)
    assert (await peer.answer()).refusal()["code"] == "bad_request"


async def test_rest_of_a_rejected_body_is_read_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_connections, "LINGER_SECONDS", 0.4)
    async with site(PATIENT) as here:
        sound, endless = await here.connect(), await here.connect()
        await sound.send(request("/refuses", "Content-Length: 200000", method="POST") + b"x" * 200_000)
        assert (await sound.answer()).status == 413
        assert (await sound.get()).status == 200

        async def send_on() -> None:
            while endless.is_open():
                await endless.send(b"3\r\nabc\r\n")
                await asyncio.sleep(0.02)

        await endless.send(request("/refuses", "Transfer-Encoding: chunked", method="POST"))
        sending = asyncio.create_task(send_on())
        assert (await endless.answer()).status == 413
        assert await endless.closed() == b""
        sending.cancel()


async def test_rejected_request_with_expect_100_continue_closes_the_connection(peer: Peer, shared: Site) -> None:
    await peer.send(request("/refuses", "Content-Length: 5", "Expect: 100-continue", method="POST"))
    answer = await peer.answer()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert await peer.closed() == b""
    served = await shared.connect()
    await served.send(request("/x", "Content-Length: 5", "Expect: 100-continue", method="POST"))
    assert (await served.answer()).status == 100
    await served.send(b"hello")
    answer = await served.answer()
    assert (answer.status, answer.body) == (200, b"/x hello")
    assert (await served.get()).status == 200
    await served.close()


# Pipelines and upgrades


async def test_pipelined_requests_are_answered_in_order_with_backpressure(peer: Peer) -> None:
    await peer.send(b"".join(request(f"/{number}") for number in range(1_000)))
    for number in range(1_000):
        assert (await peer.answer()).body == b"/%d " % number
    assert (await peer.get("/after")).body == b"/after "


async def test_error_in_a_pipeline_is_answered_in_order(shared: Site) -> None:
    peer = await shared.connect()
    await peer.send(request("/slow") + request("/second") + request("/third", host=None) + request("/fourth"))
    await asyncio.sleep(0)
    shared.app.release.set()
    assert [(await peer.answer()).body for _ in range(2)] == [b"/slow ", b"/second "]
    assert (await peer.answer()).refusal()["code"] == "invalid_host"
    assert await peer.closed() == b""


@pytest.mark.parametrize("upgrade", ["h2c", "foo"])
async def test_unknown_upgrade_is_an_ordinary_request(peer: Peer, upgrade: str) -> None:
    answer = await peer.get("/x", f"Upgrade: {upgrade}", "Connection: Upgrade")
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await peer.closed() == b""


@pytest.mark.parametrize("method", ["HEAD", "POST", "GET"])
async def test_failed_websocket_handshake_closes_the_connection(shared: Site, method: str) -> None:
    peer = await shared.connect()
    await peer.send(request("/socket", "Upgrade: websocket", "Connection: Upgrade", method=method))
    assert re.match(rb"HTTP/1.1 4\d\d ", await peer.closed())


# Connections


async def test_over_the_connection_limit_only_probes_are_answered_and_others_get_503() -> None:
    async with site(PATIENT) as here:
        busy = [await here.connect() for _ in range(PATIENT.max_connections)]
        for each in busy:
            await each.send(request("/slow"))
        refused = await (await here.connect()).get("/events?x=1")
        error = refused.refusal()
        assert (error["status"], error["code"], error["path"]) == (503, "too_many_connections", "/events")
        assert refused.headers["retry-after"] == "2"
        head = await (await here.connect()).get("/events", method="HEAD")
        assert (head.status, head.body) == (503, b"")
        probe = await here.connect()
        answer = await probe.get("/health/")
        assert (answer.status, answer.headers["connection"]) == (200, "close")

        here.app.release.set()
        for each in busy:
            assert (await each.answer()).status == 200
        assert (await (await here.connect()).get("/events")).status == 200


async def test_over_the_reserve_a_connection_is_rejected_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "RESERVED_CONNECTIONS", 1)
    async with site(PATIENT) as here:
        for _ in range(PATIENT.max_connections):
            await (await here.connect()).send(request("/slow"))
        await here.connect()
        beyond = await here.connect()
        refusal = (await beyond.answer()).refusal()
        assert (refusal["status"], refusal["path"]) == (503, None)
        assert await beyond.closed() == b""


@pytest.mark.usefixtures("young")
@pytest.mark.parametrize("first", [b"", b"GET /x HTTP/1.1\r\nHost"], ids=["silent", "halfway"])
async def test_stalled_connections_are_closed_to_make_room(first: bytes) -> None:
    async with site(PATIENT) as here:
        hanging = [await here.connect() for _ in range(3 * PATIENT.max_connections)]
        for each in hanging:
            await each.send(first)
        for _ in range(10):
            assert (await (await here.connect()).get()).status == 200
        # The first ones were closed while the others came; this one had begun by then.
        last_words = await hanging[2 * PATIENT.max_connections].closed()
        assert last_words.startswith(b"HTTP/1.1 408") if first else last_words == b""


async def test_new_connections_are_not_closed_to_make_room() -> None:
    async with site(PATIENT) as here:
        hanging = [await here.connect() for _ in range(PATIENT.max_connections)]
        assert (await (await here.connect()).get()).status == 503
        assert all(each.is_open() for each in hanging)
        assert (await hanging[0].get()).status == 200


async def test_oldest_idle_connection_is_closed_to_make_room() -> None:
    async with site(replace(PATIENT, max_idle_connections=10)) as here:
        idle = [await here.connect() for _ in range(PATIENT.max_connections)]
        for each in idle:
            assert (await each.get()).status == 200
        assert (await (await here.connect()).get()).status == 200
        assert await idle[0].closed() == b""
        assert (await idle[1].get()).status == 200


async def test_idle_connections_have_their_own_limit() -> None:
    async with site(PATIENT) as here:
        idle = [await here.connect() for _ in range(PATIENT.max_idle_connections + 1)]
        for each in idle:
            assert (await each.get()).status == 200
        assert await idle[0].closed() == b""
        assert all(each.is_open() for each in idle[1:])


async def _stream(here: Site) -> Callable[[], Any]:
    peer = await here.connect()
    await peer.send(request("/stream"))
    assert (await peer.answer(head_only=True)).status == 200
    return peer.close


async def _websocket(here: Site) -> Callable[[], Any]:
    socket = await connect(here.address.replace("http", "ws") + "/socket")
    return socket.close


@pytest.mark.parametrize("open_stream", [_stream, _websocket])
async def test_streams_have_their_own_limit(open_stream: Callable[[Site], Any]) -> None:
    async with site(replace(PATIENT, max_connections=1)) as here:
        leave = [await open_stream(here) for _ in range(PATIENT.max_streams)]
        assert (await (await here.connect()).get()).status == 200
        for fields in ((), ("Upgrade: websocket", "Connection: Upgrade")):
            refused = await (await here.connect()).get("/stream", *fields)
            assert (refused.status, refused.refusal()["path"]) == (503, "/stream")
        await leave.pop()()

        async def opened() -> Callable[[], Any]:
            async with asyncio.timeout(PATIENCE):
                while True:
                    with contextlib.suppress(Exception):
                        return await asyncio.wait_for(open_stream(here), 1)
                    await asyncio.sleep(0.02)

        leave.append(await opened())
        for each in leave:
            await each()


async def test_process_at_its_connection_limit_still_accepts_streams() -> None:
    async with site(PATIENT) as here:
        for _ in range(PATIENT.max_connections):
            await (await here.connect()).send(request("/slow"))
        leave = await _stream(here), await _websocket(here)
        for each in leave:
            await each()
