"""Responses in JSON, without the framework's steps for cookies, other media types and background tasks."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import MediaType, Response
from litestar.serialization import default_serializer
from litestar.types import Receive, Scope, Send

T = TypeVar("T")

_encode = msgspec.json.Encoder(enc_hook=default_serializer).encode
_JSON = (None, MediaType.JSON)
_WITHOUT_BODY = {204, 304}


class JsonResponse(Response[T]):
    """A response whose content is encoded as JSON, unless it names another media type. The content has types that
    msgspec encodes by itself."""

    def to_asgi_response(
        self, app: Any, request: Any, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Any:
        status = self.status_code or options.get("status_code") or 200
        is_json = self.media_type in _JSON
        is_plain = is_json and not (self.cookies or self.background or isinstance(self.content, str | bytes))
        has_options = options.get("background") or options.get("cookies") or options.get("is_head_response")
        if not is_plain or has_options or status in _WITHOUT_BODY:
            return super().to_asgi_response(app, request, headers=dict(headers or {}), **options)
        return _EncodedResponse(status, {**(headers or {}), **self.headers}, _encode(self.content))


class _EncodedResponse:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._status = status
        self._body = body
        self._headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        if all(name != b"content-type" for name, _ in self._headers):
            self._headers.append((b"content-type", b"application/json"))
        self._headers.append((b"content-length", b"%d" % len(body)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (keywords of Litestar)
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
