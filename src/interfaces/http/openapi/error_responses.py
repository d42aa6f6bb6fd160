"""The errors of an operation as OpenAPI responses. The code that builds real error bodies builds the examples as well,
so they cannot differ."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from domain.errors import DomainError, Invalid, TooManyRequests, Unavailable
from domain.second_factors import FactorKind, SecondFactorRequired
from interfaces.http.errors import (
    FRAMEWORK,
    MISSING_FIELD,
    ErrorFormat,
    ErrorResponse,
    body_of,
    error_response,
    framework_response,
)
from interfaces.http.openapi.errors import errors_of
from interfaces.http.openapi.operations import Operation
from interfaces.http.openapi.schema_names import ERROR_CODE, ERRORS
from servicekit.http_server import REFUSALS

REQUEST_ID = "4f1c2b7a9d3e4c58b6a01d2e3f405162"
_DESCRIPTIONS = {
    "error": "The error, in the format of this contract.",
    "message": "A message for people.",
    "code": "A stable name of the error, for programs.",
    "request_id": "The request's id, also in `X-Request-ID` and in the logs.",
    "details": "The errors of the request's fields, by field.",
}
_OF_SECOND_FACTORS: Mapping[str, Mapping[str, Any]] = {
    "ticket": {"type": "string", "description": "With `second_factor_required`: completes the login."},
    "methods": {
        "type": "array",
        "items": {"type": "string"},
        "description": "With `second_factor_required`: what the login accepts.",
    },
    "expires_in": {
        "type": "integer",
        "description": "With `second_factor_required`: seconds until the ticket expires.",
    },
}


def error_schema(error_format: ErrorFormat) -> dict[str, Any]:
    """The JSON schema of an error format."""
    probes = (
        framework_response(400),
        ErrorResponse(400, "probe", "Probe", {"field": "why"}),
        error_response(_instance(SecondFactorRequired)),
        framework_response(500),
    )
    bodies = [body_of(response, error_format, REQUEST_ID) for response in probes]
    names = list(dict.fromkeys(name for body in bodies for name in body))
    return {
        "type": "object",
        "title": ERRORS[error_format],
        "required": [name for name in names if all(name in body for body in bodies)],
        "properties": {name: _property(name, bodies) for name in names},
    }


def error_code_schema(described: Iterable[Operation]) -> dict[str, Any]:
    """The codes of all errors: of the operations, of unknown paths, and of the server itself."""
    codes = {response.code for operation in described for response in _responses(operation, {})}
    codes |= {code for code, _ in FRAMEWORK.values()} | {code for _, code, _ in REFUSALS.values()}
    return {"type": "string", "enum": sorted(codes), "title": ERROR_CODE, "description": _DESCRIPTIONS["code"]}


def error_responses(
    operation: Operation, error_formats: Iterable[ErrorFormat], wrong: Mapping[str, str]
) -> dict[str, Any]:
    """By status. `error_formats` are those of this operation; `wrong` is an example of `details`."""
    error_formats = list(error_formats)
    by_status: dict[int, list[ErrorResponse]] = {}
    for response in _responses(operation, wrong):
        by_status.setdefault(response.status, []).append(response)
    return {str(status): _response(status, by_status[status], error_formats) for status in sorted(by_status)}


def invalid_details(operation: Operation, required: list[str], queried: list[str]) -> dict[str, str]:
    """The possible `details` of a validation error of this operation."""
    if required:
        return {required[0]: MISSING_FIELD}
    if operation.has_body:
        return {"body": "Is not valid JSON"}
    if "limit" in queried:
        return {"limit": "Must be a positive whole number"}
    return {"query": "Is not valid UTF-8"}


def _responses(operation: Operation, wrong: Mapping[str, str]) -> Iterable[ErrorResponse]:
    yield error_response(Invalid(wrong))
    for kind in errors_of(operation):
        yield error_response(_instance(kind))
    if operation.has_body:
        yield ErrorResponse(408, "request_timeout", "The request body took too long to arrive")
        yield framework_response(413)
        yield framework_response(415)
    yield error_response(RuntimeError())
    if operation.needs_database:
        yield error_response(Unavailable())


def _instance(kind: type[DomainError]) -> DomainError:
    if issubclass(kind, SecondFactorRequired):
        return kind("kQ3xV8nTz0LrBwYd5sJc7gHmP2uEfAi9R4yVtXqM1oW", [FactorKind.TOTP])
    return kind(retry_after=60) if issubclass(kind, TooManyRequests) else kind()


def _response(status: int, refused: list[ErrorResponse], error_formats: list[ErrorFormat]) -> dict[str, Any]:
    schemas = [{"$ref": f"#/components/schemas/{ERRORS[error_format]}"} for error_format in error_formats]
    response: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {
            "application/json": {
                "schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas},
                "examples": {
                    name: {"summary": response.message, "value": body_of(response, error_format, REQUEST_ID)}
                    for response in refused
                    for name, error_format in _named(response, error_formats)
                },
            }
        },
    }
    headers = {name for response in refused for name in response.headers}
    if headers:
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in sorted(headers)}
    return response


def _named(response: ErrorResponse, error_formats: list[ErrorFormat]) -> Iterable[tuple[str, ErrorFormat]]:
    """Examples by the error's code; for a route with two error formats also by the name of the format."""
    for error_format in error_formats:
        yield (response.code if len(error_formats) == 1 else f"{response.code}_{ERRORS[error_format]}"), error_format


def _property(name: str, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    if name == "code":
        return {"$ref": f"#/components/schemas/{ERROR_CODE}"}
    if name in _OF_SECOND_FACTORS:
        return dict(_OF_SECOND_FACTORS[name])
    described = {"description": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {}
    if any(isinstance(body.get(name), dict) for body in bodies):
        return {"type": "object", "additionalProperties": {"type": "string"}, **described}
    return {"type": "string", **described}
