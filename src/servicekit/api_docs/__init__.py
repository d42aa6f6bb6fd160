"""The page at `/docs` of both services: Swagger UI without assets from other hosts.

The page expects the description at `/docs/openapi.json` and the files of `asset` below `/docs/assets/`. Swagger UI's
files lie in the package `swagger-ui-py`, whose code is not imported.
"""

import html
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

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
"""Swagger UI's style sheet contains its icons as `data:` addresses."""

CACHED = {"Cache-Control": "public, max-age=3600"}

_OURS = {"start.js": "text/javascript", "docs.css": "text/css"}
_SWAGGER_UI = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


def page(title: str) -> bytes:
    """The page, which must be sent with SECURITY_POLICY."""
    return files(__package__).joinpath("page.html").read_text("utf-8").replace("{title}", html.escape(title)).encode()


def asset(name: str) -> tuple[bytes, str] | None:
    """The content of a file that the page loads, and its media type; None for any other name."""
    if name in _OURS:
        return files(__package__).joinpath(name).read_bytes(), _OURS[name]
    if name in _SWAGGER_UI:
        return _swagger_ui(name), _SWAGGER_UI[name]
    return None


@cache
def _swagger_ui(name: str) -> bytes:
    package = find_spec("swagger_ui")
    if package is None or package.origin is None:
        raise RuntimeError("The package swagger-ui-py is not installed")
    return Path(package.origin).with_name("static").joinpath(name).read_bytes()
