"""The OpenAPI 3.1 document of an application."""

import copy
import json
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from litestar import Litestar

from interfaces.http.error_formats import ERROR_FORMATS
from interfaces.http.errors import ErrorFormat
from interfaces.http.idempotency import REPLAYED
from interfaces.http.live.streams import EVENT_STREAM
from interfaces.http.openapi.error_responses import error_code_schema, error_responses, error_schema, invalid_details
from interfaces.http.openapi.errors import SECURITY_SCHEMES, security
from interfaces.http.openapi.groups import INTRODUCTION, contract_note, group, tag_groups, tags
from interfaces.http.openapi.operations import Operation, operations
from interfaces.http.openapi.parameters import described, idempotency_key
from interfaces.http.openapi.schema_names import ERROR_CODE, ERRORS
from interfaces.http.openapi.schemas import named, tidied, with_named_enum

HEADERS = {
    "X-Request-ID": {"description": "The request's id.", "schema": {"type": "string"}},
    REPLAYED: {
        "description": "The stored answer to an earlier request with the same `Idempotency-Key`.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "The delay before the next try, in seconds.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {"description": "The authentication scheme.", "schema": {"type": "string", "const": "Bearer"}},
    "Link": {
        "description": 'The address of the next page: `<…>; rel="next"`. Absent on the last one.',
        "schema": {"type": "string"},
    },
}
LOCATION = {
    "description": "The address that the browser is redirected to.",
    "schema": {"type": "string", "format": "uri"},
}


def document(app: Litestar, servers: Sequence[str]) -> dict[str, Any]:
    """`servers` are base addresses; the first is the one that viewers call."""
    drawn = named(tidied(copy.deepcopy(app.openapi_schema.to_schema())))
    schemas: dict[str, Any] = drawn["components"]["schemas"]
    paths: dict[str, dict[str, Any]] = {}
    described_operations = list(operations(app))
    schemas[ERROR_CODE] = error_code_schema(described_operations)
    for operation in described_operations:
        error_formats = _error_formats(operation)
        schemas |= {ERRORS[error_format]: error_schema(error_format) for error_format in error_formats}
        finished = _finished(operation, drawn["paths"][operation.path][operation.method], error_formats, schemas)
        paths.setdefault(operation.path, {})[operation.method] = finished
    return {
        "openapi": drawn["openapi"],
        "info": {
            "title": "Convene",
            "version": version("convene"),
            "description": INTRODUCTION,
            "contact": {"name": "The operator of this server"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": url} for url in servers],
        "tags": tags(),
        "x-tagGroups": tag_groups(),
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


@cache
def examples() -> dict[str, Any]:
    """By operation id: the `parameters` of a request, the `bodies` by the status they led to, and the `answers` by
    status, each with its `body` or its `location`. Recorded from a running API."""
    recorded: dict[str, Any] = json.loads(files(__package__).joinpath("examples.json").read_text(encoding="utf-8"))
    return recorded


def _error_formats(operation: Operation) -> list[ErrorFormat]:
    """The error format of the path, then those that the route declares (`opt={"error_formats": …}`)."""
    return [ERROR_FORMATS.of(operation.path), *operation.handler.opt.get("error_formats", ())]


def _finished(
    operation: Operation, drawn: dict[str, Any], error_formats: list[ErrorFormat], schemas: dict[str, Any]
) -> dict[str, Any]:
    example = examples().get(operation.id, {})
    parameters = [
        with_named_enum(described(operation, parameter, example.get("parameters", {}).get(parameter["name"])), schemas)
        for parameter in drawn.get("parameters", [])
    ]
    if operation.accepts_idempotency_key:
        parameters.append(idempotency_key(answers_once=operation.answers_once, issues_tokens=operation.issues_tokens))
    body = _request_body(drawn.get("requestBody"), example)
    required = _required(body, schemas)
    details = invalid_details(operation, required, [parameter["name"] for parameter in parameters])
    declared = set(operation.handler.responses or ())
    kept = {
        status: _answer(int(status), response, example.get("answers", {}).get(status), paged=_is_paged(parameters))
        for status, response in drawn["responses"].items()
        if int(status) < 400 or int(status) in declared
    }
    if "also" in operation.handler.opt:
        kept["200"]["content"][operation.handler.opt["also"]] = {"schema": {"type": "string"}}
    responses = error_responses(operation, error_formats, details) | kept
    for response in responses.values():
        response["headers"] = {**response.get("headers", {}), "X-Request-ID": _header("X-Request-ID")}
        if operation.answers_once:
            response["headers"][REPLAYED] = _header(REPLAYED)
    (declared,) = drawn["tags"]
    finished = {
        "tags": [group(declared)],
        "operationId": operation.id,
        "summary": operation.summary,
        "description": "\n\n".join(filter(None, [operation.description, contract_note(declared, operation.id)])),
        "security": security(operation),
        "parameters": parameters,
        "requestBody": body,
        "responses": dict(sorted(responses.items())),
    }
    return {key: value for key, value in finished.items() if value or key == "security"}


def _request_body(drawn: dict[str, Any] | None, example: dict[str, Any]) -> dict[str, Any] | None:
    """A body that may be `null` may be omitted."""
    if drawn is None:
        return None
    ((media, content),) = drawn["content"].items()
    alternatives = [schema for schema in content["schema"].get("oneOf", []) if schema != {"type": "null"}]
    schema = alternatives[0] if alternatives else content["schema"]
    bodies: dict[str, Any] = example.get("bodies", {})
    shown: dict[str, Any] = {}
    if len(bodies) == 1:
        shown["example"] = next(iter(bodies.values()))
    elif bodies:
        shown["examples"] = {
            f"answered_{status}": {"summary": f"Answered with {status}", "value": body}
            for status, body in bodies.items()
        }
    return {"required": not alternatives, "content": {media: {"schema": schema, **shown}}}


def _required(body: dict[str, Any] | None, schemas: dict[str, Any]) -> list[str]:
    """The required fields of a body, in the order of its type."""
    if body is None:
        return []
    (content,) = body["content"].values()
    name = content["schema"]["$ref"].rpartition("/")[2]
    schema = schemas[name]
    return [field for field in schema["properties"] if field in schema.get("required", ())]


def _answer(status: int, drawn: dict[str, Any], example: dict[str, Any] | None, *, paged: bool) -> dict[str, Any]:
    answer = {**drawn, "description": HTTPStatus(status).phrase}
    if 300 <= status < 400 and status != HTTPStatus.NOT_MODIFIED:
        location = LOCATION if example is None else {**LOCATION, "example": example["location"]}
        return {"description": answer["description"], "headers": {"Location": location}}
    if status == HTTPStatus.NO_CONTENT:
        return {"description": answer["description"]}
    stream = answer.get("content", {}).get(EVENT_STREAM)
    if stream is not None:
        stream["schema"] = _text_of(stream["schema"])
    content = answer.get("content", {}).get("application/json")
    if content is None:
        return answer
    if example is not None:
        content["example"] = example["body"]
    if paged:
        answer["headers"] = {"Link": _header("Link")}
    return answer


def _text_of(entry: dict[str, Any]) -> dict[str, Any]:
    """Describes a stream as text; clients parse the `data` of each event."""
    return {"type": "string", "contentMediaType": EVENT_STREAM, "contentSchema": entry}


def _is_paged(parameters: list[dict[str, Any]]) -> bool:
    return any(parameter["name"] == "cursor" for parameter in parameters)


def _header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}
