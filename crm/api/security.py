"""Who may call: the bearer token, and Standard Webhooks signatures where secrets for them are set."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from crm.api.errors import MESSAGES, ErrorResponse

TOLERANCE_SECONDS = 300


def bearer_guard(token: str, status: int = 401) -> Guard:
    """A guard that lets only the holder of `token` through; `status` otherwise, contract D's is 403."""
    expected = hashlib.sha256(token.encode()).digest()

    def require_bearer(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scheme, _separator, given = connection.headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        if not hmac.compare_digest(digest, expected) or scheme.lower() != "bearer":
            raise invalid_token(status)

    return require_bearer


def invalid_token(status: int) -> ErrorResponse:
    challenge = {"www-authenticate": "Bearer"} if status == 401 else {}
    return ErrorResponse(status, "invalid_token", MESSAGES[401], headers=challenge)


def verify_signature(request: Request[Any, Any, Any], body: bytes, secrets: Sequence[bytes]) -> None:
    """Check the Standard Webhooks headers against any of `secrets`; raises Refusal (401). Without secrets: no check."""
    if not secrets:
        return
    headers = request.headers
    identity, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not identity or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise invalid_signature("The webhook-id, webhook-timestamp and webhook-signature headers are needed")
    if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        raise invalid_signature("The webhook-timestamp is more than five minutes off")
    signed = f"{identity}.{timestamp}.".encode("utf-8", "surrogateescape") + body
    expected = [hmac.digest(secret, signed, "sha256") for secret in secrets]
    given = [_signature(part) for part in headers.get("webhook-signature", "").split()]
    if not any(hmac.compare_digest(one, other) for one in given for other in expected):
        raise invalid_signature("The webhook-signature does not match")


def _signature(part: str) -> bytes:
    version, _, encoded = part.partition(",")
    if version != "v1":
        return b""
    try:
        return base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""


def invalid_signature(message: str) -> ErrorResponse:
    return ErrorResponse(401, "invalid_signature", message)
