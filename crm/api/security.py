"""Authentication: the bearer token, and Standard Webhooks signatures if their secrets are set."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from crm.api.errors import MESSAGES, ErrorResponse
from servicekit.signatures import InvalidSignature, verify


def bearer_guard(token: str, status: int = 401) -> Guard:
    """A guard that requires `token`. Other requests get `status`, which is 403 in contract D."""
    expected = hashlib.sha256(token.encode()).digest()

    async def require_bearer(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scheme, _separator, given = connection.headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        if not hmac.compare_digest(digest, expected) or scheme.lower() != "bearer":
            raise invalid_token(status)

    return require_bearer


def invalid_token(status: int) -> ErrorResponse:
    challenge = {"www-authenticate": "Bearer"} if status == 401 else {}
    return ErrorResponse(status, "invalid_token", MESSAGES[401], headers=challenge)


def verify_signature(request: Request[Any, Any, Any], body: bytes, keys: Sequence[bytes], now: datetime) -> None:
    """Checks the Standard Webhooks headers against any of `keys`, if there are some. Raises ErrorResponse (401)."""
    if not keys:
        return
    try:
        verify(request.headers, body, keys, now)
    except InvalidSignature as error:
        raise invalid_signature(str(error)) from None


def invalid_signature(message: str) -> ErrorResponse:
    return ErrorResponse(401, "invalid_signature", message)
