"""Strict JSON bodies: values that PostgreSQL, a mail or an old client cannot process are rejected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Request

from crm.api.errors import ErrorResponse, invalid
from servicekit.numbers import has_unbounded_number, may_have_large_integer

BODY_LIMIT = 64 * 1024
DEPTH_LIMIT = 32
LARGEST_INTEGER = 2**63 - 1


async def read_json_object(request: Request[Any, Any, Any]) -> tuple[dict[str, Any], str]:
    """The body as an object and as its original text. Raises `ErrorResponse` (400, 413, 415)."""
    _require_json(request)
    raw = await request.body()
    try:
        text = raw.decode("utf-8")
        body = msgspec.json.decode(raw)
    except UnicodeDecodeError:
        raise malformed("The body is not valid UTF-8") from None
    except (msgspec.DecodeError, RecursionError):
        raise malformed("The body is not valid JSON") from None
    if not isinstance(body, dict):
        raise malformed("The body must be a JSON object")
    for depth, value in _values(body) if _may_be_unsound(raw) else ():
        if depth > DEPTH_LIMIT:
            raise malformed(f"The body is nested more than {DEPTH_LIMIT} deep")
        if isinstance(value, str) and "\0" in value:
            raise malformed("The body has a NUL character in a string")
        if isinstance(value, int) and not -LARGEST_INTEGER - 1 <= value <= LARGEST_INTEGER:
            raise malformed("The body has an integer beyond 64 bits")
    if has_unbounded_number(raw):
        raise invalid({"body": "A number is out of range"})
    return body, text


def _require_json(request: Request[Any, Any, Any]) -> None:
    media_type, parameters = request.content_type
    kind, _, subtype = media_type.lower().partition("/")
    json = kind == "application" and (subtype == "json" or subtype.endswith("+json"))
    charset = parameters.get("charset", "utf-8").strip('"').lower()
    if not json or charset not in ("utf-8", "utf8"):
        raise not_json()


def _may_be_unsound(raw: bytes) -> bool:
    """False for most bodies, without a closer look."""
    return raw.count(b"[") + raw.count(b"{") > DEPTH_LIMIT or b"\\u0000" in raw or may_have_large_integer(raw)


def _values(root: object) -> Iterator[tuple[int, object]]:
    """Every value and every object key with its depth, without recursion."""
    waiting: list[tuple[int, object]] = [(1, root)]
    while waiting:
        depth, value = waiting.pop()
        yield depth, value
        if isinstance(value, dict):
            waiting.extend((depth + 1, part) for pair in value.items() for part in pair)
        elif isinstance(value, list):
            waiting.extend((depth + 1, part) for part in value)


def not_json() -> ErrorResponse:
    return ErrorResponse(415, "unsupported_media_type", "Send the body as application/json in UTF-8")


def malformed(message: str) -> ErrorResponse:
    return ErrorResponse(400, "malformed_body", message)
