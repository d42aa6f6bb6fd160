"""Error responses in the format of the API documents, with a stable `code` and the request's id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from crm.api.middleware import ClientLeft
from crm.database import DatabaseUnavailable
from crm.erasure.eraser import ErasureUnfinished
from crm.notification_store import MessageIdReused, NotificationNotFound
from crm.notifications import InvalidFields, MissingFields
from servicekit.json_responses import JsonResponse
from servicekit.log_errors import error_text
from servicekit.logging import current_request_id

Handler: TypeAlias = Callable[[Request[Any, Any, Any], Any], Response[dict[str, Any]]]

RETRY_AFTER_SECONDS = 5
ERASURE_RETRY_AFTER_SECONDS = 1
"""Short, because the sender may pause all messages for this time."""

SENTENCES: Mapping[int, str] = {
    401: "Invalid or expired token",
    404: "Resource not found",
    500: "Internal server error",
}
"""`error` on the paths of contracts B and D, by status, where it is not the message."""

MESSAGES: Mapping[int, str] = {
    401: "Invalid or missing token",
    404: "The requested resource was not found",
    405: "The method is not allowed here",
    413: "The body is larger than 64 KiB",
    500: "An unexpected error occurred",
}

CODES: Mapping[int, str] = {413: "body_too_large"}
"""Where the status phrase is another one in Python 3.13."""

log = structlog.stdlib.get_logger("crm.http")


class ErrorResponse(Exception):
    """A request that is refused, as it will be answered."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        error: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.phrased = error is None
        self.headers = dict(headers or {})
        self.body = {
            "error": error or HTTPStatus(status).phrase,
            "message": message,
            "code": code,
            "request_id": current_request_id() or "",
            **extra,
        }


def invalid(details: Mapping[str, str]) -> ErrorResponse:
    """400 for values that cannot be accepted: field to reason."""
    message = "; ".join(f"{field}: {reason}" for field, reason in details.items())
    return ErrorResponse(400, "validation_error", message, error="Validation error", details=dict(details))


def missing(fields: Sequence[str]) -> ErrorResponse:
    """400 for required fields that are absent or null."""
    plural = "s" if len(fields) > 1 else ""
    message = f"Missing required field{plural}: {', '.join(fields)}"
    return ErrorResponse(400, "missing_fields", message, error="Missing required fields", missing_fields=list(fields))


def not_found() -> ErrorResponse:
    return ErrorResponse(404, "not_found", MESSAGES[404])


def message_id_reused() -> ErrorResponse:
    return ErrorResponse(422, "idempotency_key_reused", "This Idempotency-Key was used before with another body")


def database_unavailable() -> ErrorResponse:
    message = "The database cannot be reached; try again shortly"
    return ErrorResponse(503, "database_unavailable", message, headers={"retry-after": str(RETRY_AFTER_SECONDS)})


def erasure_unfinished() -> ErrorResponse:
    message = "There is more to erase; send the message again to go on"
    return ErrorResponse(503, "erasure_unfinished", message, headers={"retry-after": str(ERASURE_RETRY_AFTER_SECONDS)})


def unexpected() -> ErrorResponse:
    return ErrorResponse(500, "internal_error", MESSAGES[500])


def refused_by_framework(status: int, headers: Mapping[str, str] | None = None) -> ErrorResponse:
    """The error response for a status of the framework."""
    phrase = HTTPStatus(status).phrase
    code = CODES.get(status, phrase.lower().replace(" ", "_").replace("-", "_"))
    return ErrorResponse(status, code, MESSAGES.get(status, phrase), headers=headers)


def body_of(response: ErrorResponse, *, sentences: bool) -> dict[str, Any]:
    """On contract A's paths `error` is the status phrase, on those of B and D (`sentences`) a sentence."""
    if response.phrased and sentences:
        return response.body | {"error": SENTENCES.get(response.status, response.body["message"])}
    return response.body


def connection_error(path: str | None, method: str, status: int, code: str, message: str, request_id: str) -> bytes:
    """The body of a refusal that the server makes before the application sees the request."""
    sentences = path is not None and (method == "DELETE" or path.startswith(("/webhook", "/test-")))
    error = message if sentences else HTTPStatus(status).phrase
    return msgspec.json.encode({"error": error, "message": message, "code": code, "request_id": request_id})


def _answer(request: Request[Any, Any, Any], response: ErrorResponse) -> Response[dict[str, Any]]:
    handler = request.scope.get("route_handler")
    body = body_of(response, sentences=handler is not None and "sentences" in handler.opt)
    return JsonResponse(body, status_code=response.status, headers=response.headers)


def _error_response(request: Request[Any, Any, Any], response: ErrorResponse) -> Response[dict[str, Any]]:
    return _answer(request, response)


def _not_found(request: Request[Any, Any, Any], _: NotificationNotFound) -> Response[dict[str, Any]]:
    return _answer(request, not_found())


def _missing_fields(request: Request[Any, Any, Any], error: MissingFields) -> Response[dict[str, Any]]:
    return _answer(request, missing(error.fields))


def _invalid_fields(request: Request[Any, Any, Any], error: InvalidFields) -> Response[dict[str, Any]]:
    return _answer(request, invalid(error.details))


def _message_id_reused(request: Request[Any, Any, Any], _: MessageIdReused) -> Response[dict[str, Any]]:
    return _answer(request, message_id_reused())


def _erasure_unfinished(request: Request[Any, Any, Any], _: ErasureUnfinished) -> Response[dict[str, Any]]:
    return _answer(request, erasure_unfinished())


def _database_unavailable(request: Request[Any, Any, Any], error: DatabaseUnavailable) -> Response[dict[str, Any]]:
    log.warning("database_unavailable", error=error_text(error.__cause__ or error))
    return _answer(request, database_unavailable())


def _client_left(request: Request[Any, Any, Any], _: ClientLeft) -> Response[dict[str, Any]]:
    """Is not sent: the frame sends nothing to a client that has left."""
    return _answer(request, refused_by_framework(400))


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    if error.status_code >= 500:
        log.error("unexpected error", exc_info=error)
    return _answer(request, refused_by_framework(error.status_code, error.headers))


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    log.error("unexpected error", exc_info=error)
    return _answer(request, unexpected())


HANDLERS: dict[int | type[Exception], Handler] = {
    ErrorResponse: _error_response,
    MissingFields: _missing_fields,
    InvalidFields: _invalid_fields,
    MessageIdReused: _message_id_reused,
    NotificationNotFound: _not_found,
    ErasureUnfinished: _erasure_unfinished,
    DatabaseUnavailable: _database_unavailable,
    ClientLeft: _client_left,
    HTTPException: _http,
    Exception: _unexpected,
}
