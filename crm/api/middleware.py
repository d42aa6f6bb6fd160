"""Middleware for every request: a request id, security headers and one log line, also for errors."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class ClientLeft(Exception):
    """The client closed the connection before its request was complete. No answer can be sent."""


log = structlog.stdlib.get_logger("crm.http")


class RequestMiddleware:
    """ASGI middleware around the whole application, so that it applies to every response. `count` receives the method
    and the status of each request."""

    def __init__(self, app: ASGIApp, count: Callable[[str, int], None] = lambda _method, _status: None) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        identity = given if SANE_REQUEST_ID.fullmatch(given) else uuid4().hex
        began = time.perf_counter()
        is_complete = has_left = False

        def log_request(status: int) -> None:
            self._count(scope["method"], status)
            milliseconds = round((time.perf_counter() - began) * 1000, 1)
            log.info("request", method=scope["method"], path=scope["path"], status=status, milliseconds=milliseconds)

        async def receive_framed() -> Any:
            nonlocal is_complete, has_left
            message: Any = await receive()
            if message["type"] == "http.disconnect" and not is_complete:
                has_left = True
                raise ClientLeft
            is_complete = is_complete or not message.get("more_body", False)
            return message

        async def send_framed(message: Message) -> None:
            if has_left:
                return
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers.append((b"x-request-id", identity.encode()))
                # The documentation page has another policy.
                headers += [header for header in SECURITY_HEADERS if header[0] not in present]
                message["headers"] = headers
                log_request(message["status"])
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=identity)
        await self._app(scope, receive_framed, send_framed)
        if has_left:
            log_request(0)
