"""The document over HTTP, and Swagger UI for it at `/docs`. No asset is loaded from another host."""

from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.params import FromPath

from domain.errors import NotFound
from interfaces.http.authentication import public
from interfaces.http.injection import Inject
from interfaces.http.openapi.document import document
from servicekit import api_docs


class EncodedDocument:
    """Encoded once, at the first request. The first server is the address of the page itself, so that requests also
    work behind another host name."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url
        self._encoded: bytes | None = None

    def of(self, app: Litestar) -> bytes:
        if self._encoded is None:
            self._encoded = msgspec.json.encode(document(app, ["/", self._public_url]))
        return self._encoded


@get("/", opt=public, include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
def show_docs() -> Response[bytes]:
    return Response(api_docs.page("Convene API"), headers={"Content-Security-Policy": api_docs.SECURITY_POLICY})


@get("/openapi.json", opt=public, include_in_schema=False)
async def show_document(request: Request[Any, Any, Any], encoded: Inject[EncodedDocument]) -> Response[bytes]:
    return Response(encoded.of(request.app), media_type=MediaType.JSON)


@get("/assets/{name:str}", opt=public, include_in_schema=False, sync_to_thread=False)
def show_asset(name: FromPath[str]) -> Response[bytes]:
    found = api_docs.asset(name)
    if found is None:
        raise NotFound
    content, media_type = found
    return Response(content, media_type=media_type, headers=api_docs.CACHED)


ROUTES = [show_docs, show_document, show_asset]
