"""The document over HTTP, and Swagger UI to read it and try it: `/docs`. Nothing is loaded from outside.

Swagger UI's files lie in the package `swagger-ui-py`, whose code is not imported.
"""

from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.params import FromPath

from domain.errors import NotFound
from interfaces.http.actor import public
from interfaces.http.documentation.document import document

SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Swagger UI carries its icons inside its style sheet, as `data:`."""

CACHED = {"Cache-Control": "public, max-age=3600"}

OURS = {"start.js": "text/javascript"}
SWAGGER_UI = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@get("/", opt=public, include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
def show_docs() -> Response[bytes]:
    page = files(__package__).joinpath("page.html").read_bytes()
    return Response(page, headers={"Content-Security-Policy": SECURITY_POLICY})


@get("/openapi.json", opt=public, include_in_schema=False, sync_to_thread=False)
def show_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The first server is whoever serves this, so that trying things out also works behind another name."""
    state = request.app.state
    if "openapi_document" not in state:
        state.openapi_document = msgspec.json.encode(document(request.app, ["/", state.public_url]))
    return Response(state.openapi_document, media_type=MediaType.JSON)


@get("/assets/{name:str}", opt=public, include_in_schema=False, sync_to_thread=False)
def show_asset(name: FromPath[str]) -> Response[bytes]:
    if name in OURS:
        return Response(files(__package__).joinpath(name).read_bytes(), media_type=OURS[name], headers=CACHED)
    if name in SWAGGER_UI:
        return Response(_swagger_ui(name), media_type=SWAGGER_UI[name], headers=CACHED)
    raise NotFound


ROUTES = [show_docs, show_document, show_asset]


@cache
def _swagger_ui(name: str) -> bytes:
    package = find_spec("swagger_ui")
    if package is None or package.origin is None:
        raise RuntimeError("The package swagger-ui-py is not installed")
    return Path(package.origin).with_name("static").joinpath(name).read_bytes()
