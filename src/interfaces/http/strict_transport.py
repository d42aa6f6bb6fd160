"""Strict-Transport-Security (RFC 6797) for an API whose public address is https."""

from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

HEADER = (b"strict-transport-security", b"max-age=31536000")
"""Browsers use https for a year. Without subdomains, which others may serve."""


class StrictTransport:
    """ASGI middleware: adds the header to every HTTP answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_header(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), HEADER]
            await send(message)

        await self._app(scope, receive, with_header if scope["type"] == ScopeType.HTTP else send)
