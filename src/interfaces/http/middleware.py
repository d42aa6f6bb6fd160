"""Middleware for every request and WebSocket: request id, validation of the body, security headers, one log line.

It wraps Litestar because Litestar's own middleware does not run for requests that match no route.
"""

import asyncio
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast
from urllib.parse import unquote_to_bytes

import msgspec
import structlog
from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send, WebSocketScope

from domain.errors import DomainError, Overloaded
from interfaces.http.authentication import token_in
from interfaces.http.errors import ErrorFormat, ErrorFormats, ErrorResponse, body_of, error_response, framework_response
from interfaces.http.log_redaction import shown
from interfaces.http.methods import allow_header
from servicekit.numbers import has_unbounded_number

_log = structlog.get_logger()

MAX_BODY = 64 * 1024
MAX_DEPTH = 32
SENT_AT_ONCE = 256 * 1024
"""Bytes of a response body that are sent at a time."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_TRACE = re.compile(r"00-(?!0{32})([0-9a-f]{32})-", re.ASCII)
_JSON = re.compile(rb"application/(?:[a-z0-9.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
PAGES_WITH_FIELDS = ("/reset-password/", "/book/events/", "/me/", "/log-in", "/log-out", "/sign-up")
"""The beginnings of the pages whose buttons send the fields of a form, as a browser without JavaScript does."""
_FORM = re.compile(rb"multipart/form-data\s*;.*boundary=.+", re.IGNORECASE)
_EVENT_STREAM = b"text/event-stream; charset=utf-8"
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

ONLY_HEAD = "convene.only_head"
"""Key of the scope of a HEAD request, which is handled as a GET without a body in the response."""

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_SECURITY_NAMES = {name for name, _ in SECURITY_HEADERS}

_ids = random.Random()  # noqa: S311 (ids of requests are no secrets)
os.register_at_fork(after_in_child=_ids.seed)


class _ClientLeft(Exception):
    """The client closed the connection before its request was complete. No answer can be sent."""


class _Refused(Exception):
    def __init__(self, response: ErrorResponse) -> None:
        self.response = response


class Count(Protocol):
    """Called after every request; `status` is 0 if the client disconnected before the answer."""

    def __call__(
        self, *, route: str, method: str, status: int, seconds: float, request_id: str, traceparent: str
    ) -> None: ...


class Entrance(Protocol):
    """Called with the path before each request. Returns what is called at its end. Raises `Overloaded`."""

    async def __call__(self, path: str) -> Callable[[], None]: ...


@dataclass(frozen=True, slots=True)
class Upload:
    """A path whose authenticated POSTs upload a file as a form, in a body of at most `largest` bytes."""

    path: re.Pattern[str]
    largest: int


class RequestMiddleware:
    """ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        error_formats: ErrorFormats,
        count: Count,
        *,
        uploads: Sequence[Upload] = (),
        authenticate: Callable[[str], Awaitable[object]] | None = None,
        entrance: Entrance | None = None,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """`uploads` need `authenticate`, which raises `Unauthenticated` for an invalid token. Requests pass the
        `entrance` first. Answers while the process is `draining` close the connection."""
        self._app = app
        self._error_formats = error_formats
        self._count = count
        self._uploads = uploads
        self._authenticate = authenticate
        self._entrance = entrance
        self._draining = draining

    def _upload(self, scope: HTTPScope) -> Upload | None:
        if scope["method"] != "POST":
            return None
        return next((upload for upload in self._uploads if upload.path.fullmatch(scope["path"])), None)

    async def _require_uploader(self, headers: dict[bytes, bytes]) -> None:
        """Authenticates before a large body is read; the guards authenticate again."""
        assert self._authenticate is not None, "there are uploads"
        try:
            await self._authenticate(token_in(headers.get(b"authorization", b"").decode("latin-1")))
        except DomainError as error:
            raise _Refused(error_response(error)) from None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._answer(scope, receive, send)
        elif scope["type"] == ScopeType.WEBSOCKET:
            await self._converse(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        # A HEAD is handled as a GET; the server omits the body (RFC 9110, 9.3.2).
        asked = scope
        if scope["method"] == "HEAD":
            asked = cast(HTTPScope, {**scope, "method": HttpMethod.GET, ONLY_HEAD: True})
        answer = _Answer(asked, send, request_id, self._draining)
        left: Callable[[], None] | None = None
        is_logged = True
        try:
            if self._entrance is not None:
                left = await self._entrance(scope["path"])
            upload = self._upload(scope)
            if upload is not None:
                await self._require_uploader(headers)
            receive = await _sound_request(scope, headers, receive, upload)
            await self._app(asked, receive, answer.send)
        except _Refused as refused:
            await answer.refuse(refused.response, self._error_formats.of(scope["path"]))
        except Overloaded as error:
            is_logged = False  # the entrance logs their number: a line for each would be half of their cost
            await answer.refuse(error_response(error), self._error_formats.of(scope["path"]))
        except _ClientLeft:
            pass  # counted and logged with status 0
        finally:
            if left is not None:
                left()
            # A stream lasts as long as its client stays connected, so its start counts as the answer.
            seconds = (answer.streaming_since or time.perf_counter()) - started
            method = scope["method"]
            # The router stores the matched route in the scope.
            self._count(
                route=str(asked.get("path_template") or "none"),
                method=method,
                status=answer.status,
                seconds=seconds,
                request_id=request_id,
                traceparent=headers.get(b"traceparent", b"").decode("latin-1"),
            )
            if is_logged:
                ms = round(seconds * 1000, 1)
                _log.info("request", method=method, path=shown(scope["path"]), status=answer.status, ms=ms)

    async def _converse(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        request_id = _request_id(dict(scope["headers"]))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        socket = _Socket(receive, send, request_id)
        started = time.perf_counter()
        try:
            await self._app(scope, socket.receive, socket.send)
        finally:
            seconds = round(time.perf_counter() - started, 1)
            _log.info(
                "socket", path=shown(scope["path"]), status=socket.status, closed_with=socket.code, seconds=seconds
            )


class _Socket:
    """Records the start and the end of a WebSocket, whichever side closes it."""

    def __init__(self, receive: Receive, send: Send, request_id: str) -> None:
        self._receive = receive
        self._send = send
        self._id_header = (b"x-request-id", request_id.encode())
        self.status = 403
        """The HTTP status of the handshake. The server answers a close before the handshake with 403."""
        self.code: int | None = None

    async def receive(self) -> Any:
        message: Any = await self._receive()
        if message["type"] == "websocket.disconnect" and self.code is None:
            self.code = message["code"]
        return message

    async def send(self, message: Any) -> None:
        match message["type"]:
            case "websocket.accept":
                self.status = 101
                message["headers"] = [*message["headers"], self._id_header]
            case "websocket.http.response.start":
                self.status = message["status"]
                message["headers"] = [*message["headers"], *SECURITY_HEADERS, self._id_header]
            case "websocket.close":
                self.code = message["code"]
        await self._send(message)


class _Answer:
    """Adds the common headers to every response."""

    def __init__(self, scope: HTTPScope, send: Send, request_id: str, draining: Callable[[], bool]) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._draining = draining
        self.status = 0
        self.streaming_since: float | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._headers(message.get("headers", ()))
        elif message["type"] == "http.response.body" and len(message["body"]) > SENT_AT_ONCE:
            await self._send_in_parts(message["body"], more_body=message["more_body"])
            return
        await self._send(message)

    def _headers(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        headers = list(given)
        present = {name.lower() for name, _ in headers}
        if (b"content-type", _EVENT_STREAM) in headers:
            self.streaming_since = time.perf_counter()
        if self.status == 405 or (self.status == 204 and self._scope["method"] == "OPTIONS"):
            headers = [header for header in headers if header[0].lower() != b"allow"]
            headers.append(allow_header(self._scope))
        if present.isdisjoint(_SECURITY_NAMES):
            headers += SECURITY_HEADERS
        else:
            headers += [header for header in SECURITY_HEADERS if header[0] not in present]
        headers.append((b"x-request-id", self._request_id.encode()))
        if self._draining():
            headers.append((b"connection", b"close"))
        return headers

    async def _send_in_parts(self, body: bytes, *, more_body: bool) -> None:
        """Sends a large body in parts, so that neither the write nor a slow client delays other requests."""
        for start in range(0, len(body), SENT_AT_ONCE):
            await asyncio.sleep(0)
            part, more = body[start : start + SENT_AT_ONCE], more_body or start + SENT_AT_ONCE < len(body)
            await self._send({"type": "http.response.body", "body": part, "more_body": more})

    async def refuse(self, response: ErrorResponse, error_format: ErrorFormat) -> None:
        body = msgspec.json.encode(body_of(response, error_format, self._request_id))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        await self.send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The request's id: that of the caller if valid, else the trace id, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given.decode("latin-1")):
        return given.decode()
    parent = headers.get(b"traceparent")
    trace = _TRACE.match(parent.decode("latin-1")) if parent is not None else None
    return trace[1] if trace else f"{_ids.getrandbits(128):032x}"


async def _sound_request(
    scope: HTTPScope, headers: dict[bytes, bytes], receive: Receive, upload: Upload | None
) -> Receive:
    """Rejects malformed queries and bodies. Returns a `receive` that replays the body."""
    if "\x00" in scope["path"]:
        raise _Refused(framework_response(404))
    query: bytes = scope["query_string"]
    if b"%00" in query:
        raise _Refused(_unsound_query("Must not contain NUL characters"))
    if not _is_utf8_query(query):
        raise _Refused(_unsound_query("Is not valid UTF-8"))
    if scope["method"] not in {"POST", "PUT", "PATCH"}:
        return receive
    body = await _whole_body(headers, receive, upload.largest if upload else MAX_BODY)
    if upload is not None:
        if not _FORM.fullmatch(headers.get(b"content-type", b"")):
            raise _Refused(ErrorResponse(415, "unsupported_media_type", "Content-Type must be multipart/form-data"))
    elif body and scope["path"].startswith(PAGES_WITH_FIELDS) and _has_fields(headers):
        if b"%00" in body or not _is_utf8_query(body):
            raise _Refused(ErrorResponse(400, "validation_error", "Validation error", {"body": "Is not a valid form"}))
    elif body:
        if not _JSON.fullmatch(headers.get(b"content-type", b"")):
            raise _Refused(framework_response(415))
        _refuse_unsound_json(body)
    return _replay(body, receive)


def _has_fields(headers: dict[bytes, bytes]) -> bool:
    media_type = headers.get(b"content-type", b"").partition(b";")[0]
    return media_type.strip().lower() == b"application/x-www-form-urlencoded"


def _unsound_query(why: str) -> ErrorResponse:
    return ErrorResponse(400, "validation_error", "Validation error", {"query": why})


async def _whole_body(headers: dict[bytes, bytes], receive: Receive, largest: int) -> bytes:
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit() or len(declared) > 18:
        raise _Refused(framework_response(400))
    if int(declared) > largest:
        raise _Refused(_too_large(largest))
    body = bytearray()
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        body += message.get("body", b"")
        if len(body) > largest:
            raise _Refused(_too_large(largest))
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(largest: int) -> ErrorResponse:
    usual = framework_response(413)
    return usual if largest == MAX_BODY else replace(usual, message=f"Request body is larger than {largest >> 10} KiB")


def _refuse_unsound_json(body: bytes) -> None:
    """Rejects JSON for which the decoder raises other exceptions than its own: deep nesting and invalid strings."""

    def refuse(why: str) -> _Refused:
        return _Refused(ErrorResponse(400, "validation_error", "Validation error", {"body": why}))

    try:
        body.decode()
    except UnicodeDecodeError:
        raise refuse("Is not valid UTF-8") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_too_deep(body):
        raise refuse(f"Is nested more than {MAX_DEPTH} deep")
    if b"\\u0000" in body and _ESCAPED_NUL.search(body):
        raise refuse("Must not contain NUL characters")
    if has_unbounded_number(body):
        raise refuse("Has a number that is out of range")


def _is_too_deep(body: bytes) -> bool:
    depth = 0
    for token in _BRACKETS.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def _is_utf8_query(query: bytes) -> bool:
    if b"%" not in query:
        return query.isascii()
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        return False
    return True


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
