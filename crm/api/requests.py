"""Parts of requests outside of their bodies: ids in paths, queries, the sender's id of a message, the caller."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request

from crm.api.errors import invalid, not_found
from crm.notifications import LARGEST_ID, BookingId
from servicekit.logging import current_request_id
from servicekit.query_parameters import unknown_parameters

DEFAULT_LIMIT, LARGEST_LIMIT = 500, 500
SANE_KEY = re.compile(r"[\x21-\x7e]{1,255}")
UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
POSITIVE = re.compile(r"0*[1-9][0-9]*", re.ASCII)


def path_id(text: str) -> int:
    """An id inside a path. Raises `ErrorResponse` (404) for a text that cannot be one (`+1`, `1_000`, 2^63)."""
    if not re.fullmatch(r"[1-9][0-9]{0,18}", text, re.ASCII) or int(text) > LARGEST_ID:
        raise not_found()
    return int(text)


def message_id(request: Request[Any, Any, Any]) -> str | None:
    """The sender's id of this message: Idempotency-Key, else webhook-id, which has this meaning in Standard
    Webhooks."""
    for header in ("idempotency-key", "webhook-id"):
        key = request.headers.get(header)
        if key is None:
            continue
        if not SANE_KEY.fullmatch(key):
            raise invalid({header: "Expected 1 to 255 visible ASCII characters"})
        return key
    return None


def who(request: Request[Any, Any, Any]) -> str:
    """The caller, for the audit columns: address and request id, because all callers share one token."""
    return f"{request.client.host if request.client else 'unknown'}, request {current_request_id() or ''}"


def query(request: Request[Any, Any, Any], *names: str) -> dict[str, str]:
    """The parameters of these names. Raises `ErrorResponse` (400) for a repeated one and for one with NUL."""
    given = request.query_params.dict()
    for name in names:
        values = given.get(name, [])
        if len(values) > 1:
            raise invalid({name: "Given more than once"})
        if any("\0" in value for value in values):
            raise invalid({name: "NUL is not allowed"})
    return {name: given[name][0] for name in names if name in given}


def list_query(request: Request[Any, Any, Any], *names: str) -> dict[str, str]:
    """As `query`; also raises `ErrorResponse` (400) for a parameter of another name."""
    wrong = unknown_parameters(request.query_params, names)
    if wrong:
        raise invalid(wrong)
    return query(request, *names)


def query_id(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if len(text) > 19 or not POSITIVE.fullmatch(text) or int(text) > LARGEST_ID:
        raise invalid({name: "Expected a positive whole number"})
    return int(text)


def query_booking(given: Mapping[str, str]) -> BookingId | None:
    """`booking_id`: a number, or the UUID of an appointment."""
    text = given.get("booking_id", "")
    return UUID(text) if UUID_TEXT.fullmatch(text) else query_id(given, "booking_id")


def query_limit(given: Mapping[str, str]) -> int:
    """The maximum number of items, from 1; more than the largest limit counts as that."""
    text = given.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not POSITIVE.fullmatch(text):
        raise invalid({"limit": "Expected a whole number from 1"})
    return LARGEST_LIMIT if len(text) > 18 else min(int(text), LARGEST_LIMIT)


def with_events(given: Mapping[str, str]) -> bool:
    """`include=events`: whether notifications about an event itself are included."""
    if given.get("include", "events") != "events":
        raise invalid({"include": "Expected events"})
    return "include" in given


def next_page(path: str, given: Mapping[str, str], cursor: int | UUID) -> dict[str, str]:
    """A `Link` header (RFC 8288) with the address of the next page."""
    return {"link": f'<{path}?{urlencode({**given, "cursor": cursor})}>; rel="next"'}
