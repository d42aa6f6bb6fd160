"""The OpenAPI 3.1 document of the CRM, at /docs/openapi.json, and the page at /docs to read it and try it.

Paths, methods, descriptions and responses are derived from the handlers; OPERATIONS adds the rest. Errors are built by
the code that builds real error responses. `examples.json` contains responses that `python -m tests.crm.examples` has
recorded.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from typing import Any, get_args, get_origin

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.routes import HTTPRoute

from crm.api.errors import body_of, unexpected
from crm.api.operations import HEALTH, OPERATIONS, PARAMETERS, TAGS, WEBHOOK
from crm.api.security import invalid_token
from servicekit import api_docs
from servicekit.http_server import REFUSALS

INTRODUCTION = """Receives the messages of a booking system and notifies facilitators.

Bodies are JSON objects of at most 64 KiB; unknown fields are ignored. Times are RFC 3339 in UTC. Every
answer carries `X-Request-ID`; every error has a stable `code`, and that id as `request_id`."""

SECURITY_SCHEMES = {
    "crmToken": {"type": "http", "scheme": "bearer", "description": "`CRM_BEARER_TOKEN`."},
    "webhookToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "`CRM_WEBHOOK_SECRET`; where that is unset, `CRM_BEARER_TOKEN`.",
    },
}

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {"description": "The request's id.", "schema": {"type": "string"}},
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

ERROR = {
    "type": "object",
    "title": "Error",
    "required": ["error", "message", "code", "request_id"],
    "properties": {
        "error": {"type": "string", "description": "The status phrase (contract A) or the message (B and D)."},
        "message": {"type": "string", "description": "A message for people."},
        "code": {"$ref": "#/components/schemas/ErrorCode"},
        "request_id": {"type": "string", "description": "The request's id, also in `X-Request-ID` and in the logs."},
        "details": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "The errors of the request's fields, by field.",
        },
        "missing_fields": {"type": "array", "items": {"type": "string"}},
        "email_sent": {"type": "boolean"},
        "authenticated": {"type": "boolean"},
        "gmail_user": {"type": "string"},
    },
}
REQUEST_ID = "4f1c2b7a9d3e4c58b6a01d2e3f405162"


def _one_of(*names: str) -> dict[str, Any]:
    return {"anyOf": [{"required": [name]} for name in names]}


def _with(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": [name], "properties": {name: schema}}


NEEDED: dict[str, dict[str, Any]] = {
    "Notification": {
        "anyOf": [
            # Redocly does not find the properties of a schema that is itself one of several.
            {"required": ["booking_id", "user"], "properties": {"booking_id": {}, "user": {}}},
            _with("action", {"type": "string", "pattern": "^event_"}),
        ]
    },
    "Webhook": {
        "allOf": [
            _one_of("user", "user_id"),
            _one_of("event", "event_id"),
            {
                "anyOf": [
                    {"required": ["facilitator_id"]},
                    _with("event", {"type": "object"} | _with("facilitator_id", {})),
                    _with("payment_status", {"const": "paid"}),
                ]
            },
        ]
    },
}
"""Conditions on required fields that the type of the body cannot express."""


def document(app: Litestar) -> dict[str, Any]:
    handlers = list(operations(app))
    bodies = [body for facts in OPERATIONS.values() for body in facts.bodies]
    answers = [_answer_type(handler) for _, _, handler in handlers]
    drawn, schemas = msgspec.json.schema_components([*bodies, *answers], ref_template="#/components/schemas/{name}")
    for name, needed in NEEDED.items():
        schemas[name] |= needed
    for schema in schemas.values():
        if "properties" in schema:
            schema["properties"] = {name: _constant(field) for name, field in schema["properties"].items()}
    paths: dict[str, dict[str, Any]] = {}
    for (path, method, handler), schema in zip(handlers, drawn[len(bodies) :], strict=True):
        paths.setdefault(path, {})[method] = _operation(path, handler, schema)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Convene CRM",
            "version": version("convene"),
            "description": INTRODUCTION,
            "contact": {"name": "The operator of this server"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}, {"url": "http://127.0.0.1:5001"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas | {"Error": ERROR, "ErrorCode": _error_code(paths)},
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _error_code(paths: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The codes of all errors: of the operations, of unknown paths, and of the server itself."""
    answers = [
        answer for methods in paths.values() for each in methods.values() for answer in each["responses"].items()
    ]
    codes = {code for status, answer in answers if status >= "400" for code in _examples_of(answer)}
    codes |= {"not_found", "method_not_allowed", *(code for _, code, _ in REFUSALS.values())}
    description = "A stable name of the error, for programs."
    return {"type": "string", "enum": sorted(codes), "title": "ErrorCode", "description": description}


def _examples_of(answer: dict[str, Any]) -> dict[str, Any]:
    examples: dict[str, Any] = answer["content"]["application/json"]["examples"]
    return examples


def _constant(schema: dict[str, Any]) -> dict[str, Any]:
    """Replaces an enumeration of one value by `const`: generators support only enumerations of strings and numbers."""
    match schema:
        case {"enum": [bool() as value]}:
            return {"type": "boolean", "const": value}
        case _:
            return schema


def operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Path, method in lower case and handler of every operation, without the document and its pages."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if handler.resolve_include_in_schema() and method != "OPTIONS":
                    yield route.path_format or "/", method.lower(), handler


@get("/docs/openapi.json", include_in_schema=False, sync_to_thread=False)
def show_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    state = request.app.state
    if "openapi_document" not in state:
        state.openapi_document = msgspec.json.encode(document(request.app))
    return Response(state.openapi_document, media_type=MediaType.JSON)


@get("/docs", include_in_schema=False, sync_to_thread=False, media_type=MediaType.HTML)
def show_docs() -> Response[bytes]:
    return Response(api_docs.page("Convene CRM"), headers={"Content-Security-Policy": api_docs.SECURITY_POLICY})


@get("/docs/assets/{name:str}", include_in_schema=False, sync_to_thread=False)
def show_asset(name: FromPath[str]) -> Response[bytes]:
    found = api_docs.asset(name)
    if found is None:
        raise NotFoundException
    content, media_type = found
    return Response(content, media_type=media_type, headers=api_docs.CACHED)


@cache
def examples() -> dict[str, Any]:
    """By operation id: the `body` and `parameters` of a request, and its `answers` by name."""
    recorded: dict[str, Any] = json.loads(files(__package__).joinpath("examples.json").read_text(encoding="utf-8"))
    return recorded


def _operation(path: str, handler: HTTPRouteHandler, schema: dict[str, Any]) -> dict[str, Any]:
    name = str(handler.operation_id)
    facts, example = OPERATIONS[name], examples().get(name, {})
    in_path = [parameter for parameter in PARAMETERS if f"{{{parameter}}}" in path]
    shown = example.get("parameters", {})
    parameters = [_parameter(parameter, shown) for parameter in (*in_path, *facts.parameters)]
    answered = {key: {"value": value} for key, value in example.get("answers", {}).items()}
    paged = ["Link"] if any(each.startswith("cursor") for each in facts.parameters) else []
    token = {WEBHOOK: "webhookToken", HEALTH: None}.get(facts.tag, "crmToken")
    operation: dict[str, Any] = {
        "tags": [facts.tag],
        "operationId": name,
        "summary": facts.summary,
        "description": inspect.cleandoc(handler.fn.__doc__ or ""),
        "security": [{token: []}] if token else [],
        "parameters": parameters,
        "responses": {"200": _response(200, paged, schema, answered)},
    }
    if facts.bodies:
        forms = [{"$ref": f"#/components/schemas/{body.__name__}"} for body in facts.bodies]
        of_body = {"schema": forms[0] if len(forms) == 1 else {"anyOf": forms}, "example": example.get("body")}
        operation["requestBody"] = {"required": True, "content": {"application/json": of_body}}
    responses = [*facts.responses, unexpected()]
    if token:
        responses.append(invalid_token(403 if facts.tag == WEBHOOK else 401))
    for status in sorted({response.status for response in responses}):
        group = [response for response in responses if response.status == status]
        bodies = [body_of(response, sentences="sentences" in handler.opt) for response in group]
        named = {body["code"]: {"value": body | {"request_id": REQUEST_ID}} for body in bodies}
        sent = {header.lower() for response in group for header in response.headers}
        headers = [header for header in HEADERS if header.lower() in sent]
        operation["responses"][str(status)] = _response(status, headers, {"$ref": "#/components/schemas/Error"}, named)
    return operation


def _response(status: int, headers: list[str], schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)},
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


def _parameter(known_as: str, shown: dict[str, Any]) -> dict[str, Any]:
    place, description, schema = PARAMETERS[known_as]
    name = known_as.partition(" ")[0]
    example = {"example": shown[name]} if name in shown else {}
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "description": description, "schema": schema, **required, **example}


def _answer_type(handler: HTTPRouteHandler) -> Any:
    """The type of the response body: X for a handler that returns X or Response[X]."""
    annotation = handler.parsed_fn_signature.return_type.annotation
    return get_args(annotation)[0] if get_origin(annotation) is Response else annotation
