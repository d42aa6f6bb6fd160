"""HTTP responses to errors. Status codes are defined here, messages in the domain, formats by the contract of the path.

Contracts B and D, and paths without a contract: `{"error": "<message>"}`, with `details` by field for "Validation
error". Every body also has the stable `code` and the `request_id`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

import structlog
from litestar import Request, Response
from litestar.exceptions import ClientException, HTTPException, SerializationException, ValidationException

from application.idempotency import IdempotencyAnswerLost, IdempotencyKeyInUse, IdempotencyKeyReused
from domain.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from domain.second_factors import TICKET_LIFETIME, SecondFactorRequired
from interfaces.http.injection import Inject
from interfaces.http.log_redaction import shown
from servicekit.json_responses import JsonResponse
from servicekit.json_values import plain_reason
from servicekit.logging import current_request_id

_log = structlog.get_logger()

STATUS: dict[type[DomainError], int] = {
    NotFound: 404,
    Conflict: 400,
    Forbidden: 403,
    Invalid: 400,
    Unauthenticated: 401,
    TooManyRequests: 429,
    Unavailable: 503,
    # Status codes of draft-ietf-httpapi-idempotency-key-header-07, 2.7.
    IdempotencyKeyReused: 422,
    IdempotencyKeyInUse: 409,
    IdempotencyAnswerLost: 409,
}


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error before it is rendered in the format of a contract."""

    status: int
    code: str
    message: str
    details: dict[str, str] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    """Further fields of the body, in every format."""


Body = dict[str, Any]
ErrorFormat = Callable[[ErrorResponse], Body]
"""Renders an error in the format of a contract."""


def contract_b_format(response: ErrorResponse) -> Body:
    body: Body = {"error": response.message}
    if response.status == 500:
        body["message"] = "Something went wrong"
    return body


class ErrorFormats:
    """The error format by path: that of the longest prefix."""

    def __init__(self, owned: Mapping[str, ErrorFormat]) -> None:
        self._owned = sorted(owned.items(), key=lambda item: len(item[0]), reverse=True)

    def of(self, path: str) -> ErrorFormat:
        within = path.rstrip("/") + "/"
        return next(
            (error_format for prefix, error_format in self._owned if within.startswith(f"{prefix}/")), contract_b_format
        )


class CountError(Protocol):
    """Counts an error response by its code."""

    def __call__(self, code: str) -> None: ...


# Errors of the framework, with the contract's messages.
FRAMEWORK = {
    400: ("bad_request", "Malformed request"),
    404: ("not_found", "Resource not found"),
    405: ("method_not_allowed", "Method not allowed"),
    413: ("body_too_large", "Request body is larger than 64 KiB"),
    415: ("unsupported_media_type", "Content-Type must be application/json"),
}


def framework_response(status: int) -> ErrorResponse:
    code, message = FRAMEWORK.get(status, ("error", HTTPStatus(status).phrase))
    return ErrorResponse(status, code, message)


def error_response(error: Exception) -> ErrorResponse:
    match error:
        case Invalid():
            return ErrorResponse(400, error.code, error.message, error.details)
        case DomainError():
            return ErrorResponse(_status(error), error.code, error.message, headers=_headers(error), more=_more(error))
        case ValidationException():
            return ErrorResponse(400, Invalid.code, Invalid.message, _validation_details(error))
        case ClientException(status_code=400):
            is_json = isinstance(error.__cause__, SerializationException)
            why = "Is not valid JSON" if is_json else "Is not a valid form"
            return ErrorResponse(400, Invalid.code, Invalid.message, {"body": why})
        case HTTPException() if error.status_code < 500:
            return framework_response(error.status_code)
        case _:
            return ErrorResponse(500, "internal_error", "Internal server error")


def body_of(response: ErrorResponse, error_format: ErrorFormat, request_id: str | None) -> Body:
    details = {} if response.details is None else {"details": response.details}
    return details | error_format(response) | response.more | {"code": response.code, "request_id": request_id}


def answer_errors_in(error_format: ErrorFormat, request: Request[Any, Any, Any]) -> None:
    """For a handler that reads the contract from the body: its errors have this format instead of the path's."""
    request.scope["state"][_CHOSEN] = error_format


class ErrorPage(Protocol):
    """Makes the HTML page of an error."""

    def __call__(self, request: Request[Any, Any, Any], response: ErrorResponse) -> Response[Any]: ...


def handle(
    request: Request[Any, Any, Any],
    error: Exception,
    error_formats: Inject[ErrorFormats],
    count_error: Inject[CountError],
    error_page: Inject[ErrorPage],
) -> Response[Any]:
    """Litestar's handler for every exception."""
    response = error_response(error)
    count_error(response.code)
    request.scope["state"][DECIDED] = isinstance(error, NotFound | Conflict | Forbidden)
    if response.status == 500:
        _log.error("request.failed", path=shown(request.url.path), exc_info=error)
    if PAGE in getattr(request.scope.get("route_handler"), "opt", ()):
        return error_page(request, response)
    error_format = request.scope["state"].get(_CHOSEN) or error_formats.of(request.scope["path"])
    return JsonResponse(
        body_of(response, error_format, current_request_id()),
        status_code=response.status,
        headers=response.headers,
    )


PAGE = "page"
"""Marks routes whose errors are HTML pages."""

_CHOSEN = "error_shape"
DECIDED = "decided_refusal"
"""Key of the request's state: whether a use case raised the error, as opposed to an invalid request or an internal
error."""


def _status(error: DomainError) -> int:
    return next(STATUS[family] for family in type(error).__mro__ if family in STATUS)


def _headers(error: DomainError) -> dict[str, str]:
    match error:
        case Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case TooManyRequests() | IdempotencyKeyInUse() | Unavailable(retry_after=int()):
            return {"Retry-After": str(error.retry_after)}
        case _:
            return {}


def _more(error: DomainError) -> dict[str, Any]:
    if not isinstance(error, SecondFactorRequired):
        return {}
    seconds = int(TICKET_LIFETIME.total_seconds())
    return {"ticket": error.ticket, "methods": error.methods, "expires_in": seconds}


MISSING_FIELD = "Missing required field"
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`", re.IGNORECASE)
_MISSING_QUERY = re.compile(r"Missing required query parameter '(?P<field>[^']+)'")
_NO_BODY = "'data'"
"""Litestar's message for a missing body contains the name of the handler's parameter."""
_IN_FORMS = {
    "Unsupported type: <class 'list'>": "Must be given once",
    "Unsupported type: <class 'str'>": "Must be a file, with its name",
}
"""Replacements of Litestar's messages about parts of a form."""


def _validation_details(error: ValidationException) -> dict[str, str]:
    """msgspec's error by field. It stops at the first, so there is one."""
    unasked = _MISSING_QUERY.search(error.detail)
    if unasked:
        return {unasked["field"]: MISSING_FIELD}
    details: dict[str, str] = {}
    for item in error.extra if isinstance(error.extra, list) else []:
        message = str(item.get("message", "")) if isinstance(item, dict) else str(item)
        key = str(item.get("key", "body")) if isinstance(item, dict) else "body"
        missing = _MISSING.search(message)
        if missing:
            details[missing["field"]] = MISSING_FIELD
        elif message == _NO_BODY:
            details["body"] = "Is missing"
        else:
            details["body" if key == "data" else key] = _IN_FORMS.get(message) or plain_reason(message)
    return details or {"body": "Is not valid for this operation"}
