"""uvicorn's HTTP protocol with limits on heads, bodies and connections.

uvicorn itself has no limits on the size or the duration of a request's head, and its `limit_concurrency` counts
WebSockets and streams and responds in plain text. Requests rejected here do not reach the application; the service
provides the format of the errors.
"""

import functools
import os
import re
import resource
import socket
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from servicekit.http_connections import MAX_FIELDS, MAX_TARGET_BYTES, RETRY_AFTER_SECONDS, ConnectionGuard, Phase
from servicekit.http_limits import HttpLimits

UNREAD_SECONDS = 20
"""Seconds after which the kernel closes a connection whose peer acknowledges no sent data (on Linux)."""
ACCEPTED_IN_A_TURN = 16
"""Connections that are accepted in one turn of the event loop."""
_SLICE = 8 * 1024
"""Bytes that are parsed between two checks of the limits."""
_FRAMING_BYTES = 32 * 1024
"""Bytes of chunk headers, chunk extensions and trailers, in addition to eight for each byte of the body."""
_HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*", re.ASCII)

ErrorBody = Callable[[str | None, str, int, str, str, str], bytes]
"""From path (None: not known), method (may be empty), status, code, message and request id to a JSON body."""

REFUSALS = {
    "malformed": (400, "bad_request", "Malformed request"),
    "host": (400, "invalid_host", "A request needs exactly one valid Host header"),
    "slow_head": (408, "request_timeout", "The request took too long to arrive"),
    "slow_body": (408, "request_timeout", "The request body took too long to arrive"),
    "target": (414, "target_too_long", "The address of the request is too long"),
    "head": (431, "head_too_large", "The header fields of the request are too large or too many"),
    "full": (503, "too_many_connections", "The server has too many connections. Please try again shortly"),
}
"""Reason: status, code and message."""


def server_options(
    limits: HttpLimits, error_body: ErrorBody, *, headers: tuple[tuple[bytes, bytes], ...] = (), sockets: bool = False
) -> dict[str, Any]:
    """Arguments of `uvicorn.Config`. `headers` are sent with each error; `sockets`: whether there are WebSockets."""
    guard = ConnectionGuard(limits)
    return {
        "http": functools.partial(LimitedHttpProtocol, guard=guard, error_body=error_body, error_headers=headers),
        "ws": functools.partial(CountedWebSocketProtocol, guard=guard) if sockets else "none",
    }


def prepare(listener: socket.socket, limits: HttpLimits) -> list[socket.socket]:
    """The sockets for uvicorn to listen on: `listener` and copies of it.

    uvloop accepts one connection of each socket in a turn of its loop, and turns are long under load. With one socket
    the queue of the kernel then fills with connections that their clients give up before they are accepted.

    Sets the socket's timeout for unread data, and raises the process's limit of open files to the number that the
    limits need.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT") and listener.family in {socket.AF_INET, socket.AF_INET6}:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = limits.max_connections + limits.max_streams + 512
    if soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    # Not `listener.dup()`: it would make the socket blocking for all processes that share it.
    copies = (socket.socket(fileno=os.dup(listener.fileno())) for _ in range(ACCEPTED_IN_A_TURN - 1))
    return [listener, *copies]


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        *arguments: Any,
        guard: ConnectionGuard,
        error_body: ErrorBody,
        error_headers: tuple[tuple[bytes, bytes], ...],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._guard = guard
        self._limits = guard.limits
        self._error_body = error_body
        self._error_headers = error_headers
        self.url = b""
        self.headers = []
        # State of the message that is being read.
        self._in_head = True
        self._messages = 0
        self._head_bytes = 0
        self._target_known = False
        self._fields = 0
        self._hosts: list[bytes] = []
        self._body_bytes = 0
        self._raw_body_bytes = 0
        # State of the connection.
        self._held = b""
        self._refused = False
        self._last_response = b""

    # Connection

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self._guard.admit(self):
            self._guard.wait(self, "head")
        else:
            self._refused = True
            transport.write(self._error_response("full"))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.forget(self)
        self._held = b""
        super().connection_lost(exc)

    def expire(self, phase: Phase) -> None:
        if phase == "linger":
            self.transport.abort()
        elif phase == "body":
            self._refuse("slow_body")
        elif phase == "head" and self._head_bytes:
            self._refuse("slow_head")
        else:
            self.transport.close()

    def evict(self) -> None:
        if not self._refused and self._in_head and self._head_bytes:
            self.transport.write(self._error_response("slow_head"))
        self._refused = True
        self.transport.close()

    # Reading

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._held:
            self._held += data
            self.flow.pause_reading()
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Parses in slices, so that pipelined requests are not parsed while one is being answered."""
        for start in range(0, len(data), _SLICE):
            if start and self.pipeline:
                self._held = data[start:]
                break
            self._feed_slice(data[start : start + _SLICE])
            if self._refused or self.parser is None:
                return
        self._set_phase()

    def _feed_slice(self, data: bytes) -> None:
        message, in_head = self._messages, self._in_head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            self._refuse("malformed")
        if self._refused or self.parser is None or message != self._messages:
            return
        if in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                long_target = not self.headers and len(self.url) > MAX_TARGET_BYTES
                self._refuse("target" if long_target else "head")
        elif not in_head:
            self._raw_body_bytes += len(data)
            if self._raw_body_bytes - self._body_bytes > _FRAMING_BYTES + 8 * self._body_bytes:
                self._refuse("malformed")

    def _set_phase(self) -> None:
        phase: Phase | None
        if not self._in_head:
            phase = "linger" if self.cycle is not None and self.cycle.response_complete else "body"
        elif self._is_answering():
            phase = None
        elif self.cycle is None or self._head_bytes:
            phase = "head"
        else:
            phase = "idle"
        self._guard.wait(self, phase)

    def _is_answering(self) -> bool:
        return self.cycle is not None and (bool(self.pipeline) or not self.cycle.response_complete)

    # Parser callbacks

    def on_message_begin(self) -> None:
        if self._refused:
            return
        super().on_message_begin()
        self._target_known = False
        self._fields = 0
        self._hosts = []
        self._body_bytes = self._raw_body_bytes = 0

    def on_url(self, url: bytes) -> None:
        if not self._refused:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._target_known = True
        if self._refused or not self._in_head or self._fields > MAX_FIELDS:
            return  # trailer fields are not merged into the head (RFC 9110, 6.5.1)
        super().on_header(name, value)
        if name.lower() == b"host":
            self._hosts.append(value)

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        self._target_known = True
        fault = self._fault()
        if fault:
            self._refuse(fault)
            return
        upgrades = self.parser.should_upgrade() and self._should_upgrade()
        if not self._may_serve(upgrades=upgrades):
            self._refuse("full")
            return
        self._in_head = False
        super().on_headers_complete()
        if not upgrades and (self._guard.is_reserved(self) or self.parser.should_upgrade()):
            # The parser accepts no more data after a declined upgrade request.
            self.cycle.keep_alive = False

    def _may_serve(self, *, upgrades: bool) -> bool:
        path = self.url.partition(b"?")[0].decode("latin-1").rstrip("/") or "/"
        if upgrades:
            return self._guard.has_room_for_stream()
        if path in self._limits.stream_paths:
            return self._guard.begin_stream(self)
        return self._guard.may_serve(self, path)

    def _fault(self) -> str | None:
        """The reason to reject the head."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if len(self.url) > MAX_TARGET_BYTES:
            return "target"
        if size > self._limits.head_bytes or self._fields > MAX_FIELDS:
            return "head"
        # RFC 9112, 3.2. HTTP/1.0 has no Host.
        if len(self._hosts) > 1 or (not self._hosts and self.parser.get_http_version() != "1.0"):
            return "host"
        if self._hosts and not _HOST.fullmatch(self._hosts[0]):
            return "host"
        return None

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            self._body_bytes += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        super().on_message_complete()
        self._in_head = True
        self._target_known = False
        self._head_bytes = 0
        self._messages += 1

    def handle_websocket_upgrade(self) -> None:
        if not self._refused:
            self._guard.forget(self)
            super().handle_websocket_upgrade()
            self._refused = True  # the rest of the buffer is not HTTP

    # Answering

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        super()._start_asgi_task(cycle, _closing_unread_body(cycle, app) if cycle.waiting_for_100_continue else app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if not self._guard.resume(self):
            self.transport.close()
        if self.transport.is_closing() or self._is_answering():
            return
        if self._last_response:
            self._send_last(self._last_response)
            return
        if self._held:
            held, self._held = self._held, b""
            self._feed(held)
        elif not self._refused:
            self._set_phase()

    def _refuse(self, reason: str) -> None:
        """Sends an error and stops reading from this connection. Earlier requests are answered first."""
        if self._refused:
            return
        self._refused = True
        self._held = b""
        response = self._error_response(reason)
        if self._in_head:
            if self._is_answering():
                self._last_response = response
                self._guard.wait(self, None)
            else:
                self._send_last(response)
            return
        # The application waits for the rest of a body that will not arrive.
        started = self.cycle.response_started or bool(self.pipeline)
        for cycle in (self.cycle, *(queued for queued, _ in self.pipeline)):
            cycle.disconnected = True
            cycle.message_event.set()
        if started:
            self.transport.close()
        else:
            self._send_last(response)

    def _send_last(self, words: bytes) -> None:
        """Delays the close, because a peer that is still sending would lose the response."""
        if self.transport.is_closing():
            return
        self.transport.write(words)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._guard.wait(self, "linger")

    def _error_response(self, reason: str) -> bytes:
        status, code, message = REFUSALS[reason]
        request_id = uuid.uuid4().hex
        self._guard.note(status, code, request_id)
        path = self.url.partition(b"?")[0].decode("latin-1") if self._target_known else None
        method = (self.parser.get_method() or b"").decode("latin-1") if path else ""
        body = self._error_body(path, method, status, code, message, request_id)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", request_id.encode()),
            *self._error_headers,
        ]
        if status == 503:
            headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
        line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
        content = body if method != "HEAD" else b""
        return line + b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + content


def _closing_unread_body(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """Closes the connection after the response. A client that waited for "100 Continue" and got a final response may or
    may not send its body."""

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        async def send_closing(message: Any) -> None:
            if message["type"] == "http.response.start" and cycle.waiting_for_100_continue:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await app(scope, receive, send_closing)

    return closing


class CountedWebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket, counted as a stream from the request on."""

    def __init__(self, *arguments: Any, guard: ConnectionGuard, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guard = guard

    def connection_made(self, transport: Any) -> None:
        self._guard.begin_stream(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.end_stream(self)
        super().connection_lost(exc)
