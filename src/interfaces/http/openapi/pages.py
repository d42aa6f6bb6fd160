"""The document over HTTP, and Swagger UI to read it and try it: `/docs`. Nothing is loaded from outside."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.params import FromPath

from domain.errors import NotFound
from interfaces.http.authentication import public
from interfaces.http.openapi.document import document
from servicekit import api_docs


@get("/", opt=public, include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
def show_docs() -> Response[bytes]:
    return Response(api_docs.page("Convene API"), headers={"Content-Security-Policy": api_docs.SECURITY_POLICY})


@get("/openapi.json", opt=public, include_in_schema=False, sync_to_thread=False)
def show_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The first server is the address of this page, so that requests also work behind another host name."""
    state = request.app.state
    if "openapi_document" not in state:
        state.openapi_document = msgspec.json.encode(document(request.app, ["/", state.public_url]))
    return Response(state.openapi_document, media_type=MediaType.JSON)


@get("/assets/{name:str}", opt=public, include_in_schema=False, sync_to_thread=False)
def show_asset(name: FromPath[str]) -> Response[bytes]:
    found = api_docs.asset(name)
    if found is None:
        raise NotFound
    content, media_type = found
    return Response(content, media_type=media_type, headers=api_docs.CACHED)


ROUTES = [show_docs, show_document, show_asset]
