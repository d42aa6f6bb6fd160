"""Responses with CSV that is made while it is sent."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from interfaces.http.middleware import ONLY_HEAD

CSV = "text/csv"

ALSO_CSV = {"also": CSV}
"""Marks routes that answer with CSV as well, for the description of the API."""


class CsvStream(Response[Any]):
    def __init__(self, parts: AsyncIterator[str], *, filename: str, headers: Mapping[str, str]) -> None:
        disposition = {"Content-Disposition": f'attachment; filename="{filename}"'}
        super().__init__(None, media_type=CSV, headers=disposition | dict(headers))
        self.parts = parts

    def to_asgi_response(self, app: Any, request: Any, **_options: Any) -> ASGIResponse:  # noqa: ARG002
        return _Sending(self)


class _Sending(ASGIResponse):
    _should_set_content_length = False

    def __init__(self, stream: CsvStream) -> None:
        super().__init__(media_type=CSV, headers=stream.headers, status_code=200)
        self._parts = stream.parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await self.start_response(send)
        if not scope.get(ONLY_HEAD):
            try:
                async for part in self._parts:
                    await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
            except TimeoutError:
                return  # the client reads nothing: the server ends the connection
        await send({"type": "http.response.body", "body": b"", "more_body": False})
