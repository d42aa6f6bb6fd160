"""Paths, operations, parameters, bodies and schemas of both services, without the prose of their descriptions."""

import re
from typing import Any

from litestar import Litestar
from litestar.routes import ASGIRoute, HTTPRoute, WebSocketRoute

from crm.app import create_app as create_crm
from crm.commands import DRAWING as CRM_DRAWING
from crm.settings import load_settings as load_crm_settings
from tests.crm.description_checks import document as crm_document
from tests.support.description_checks import app, document

_PROSE = {"description", "summary", "title", "example", "examples", "externalDocs"}
_NAMED = {"properties", "patternProperties", "$defs", "mapping"}
"""Maps whose keys are names, which may be called as prose is: an event has a title and a description."""


def booking_api() -> dict[str, Any]:
    return _structure(document(), app())


def crm() -> dict[str, Any]:
    return _structure(crm_document(), create_crm(load_crm_settings(CRM_DRAWING)))


def _structure(described: dict[str, Any], served: Litestar) -> dict[str, Any]:
    components = described["components"]
    paths = described["paths"]
    return {
        "openapi": described["openapi"],
        "tags": [tag["name"] for tag in described["tags"]],
        "paths": {path: {method: _operation(paths[path][method]) for method in paths[path]} for path in sorted(paths)},
        "schemas": {name: schema(components["schemas"][name]) for name in sorted(components["schemas"])},
        "headers": schema(components.get("headers", {}), named=True),
        "securitySchemes": schema(components.get("securitySchemes", {}), named=True),
        "not described": _not_described(described, served),
    }


def schema(value: Any, *, named: bool = False) -> Any:
    """Without prose; a reference as `#Name`. `named`: the keys of this map are names."""
    if isinstance(value, dict) and not named and isinstance(value.get("$ref"), str):
        value = {**value, "$ref": "#" + value["$ref"].rpartition("/")[2]}
        if value.keys() - _PROSE == {"$ref"}:
            return value["$ref"]
    if isinstance(value, list):
        return [schema(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: each for key, each in value.items() if named or not (key in _PROSE or key.startswith("x-"))}
    return {key: schema(each, named=not named and key in _NAMED) for key, each in kept.items()}


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": each["name"], "in": each["in"], **_rest(each, "name", "in")}
        for each in operation.get("parameters", ())
    ]
    structure = {
        "operationId": operation["operationId"],
        "tags": operation["tags"],
        "security": operation.get("security"),
        "parameters": sorted(parameters, key=lambda each: (each["in"], each["name"])),
        "requestBody": schema(operation.get("requestBody")),
        "responses": {status: _response(each) for status, each in operation["responses"].items()},
    }
    # An operation whose answers are described besides: callbacks, servers, deprecated.
    return {key: value for key, value in structure.items() if value is not None} | _rest(operation, *structure)


def _rest(value: dict[str, Any], *known: str) -> dict[str, Any]:
    left: dict[str, Any] = schema({key: each for key, each in value.items() if key not in known})
    return left


def _response(response: dict[str, Any]) -> dict[str, Any]:
    """With the `code` of every error it may hold."""
    structure: dict[str, Any] = {media: schema(each["schema"]) for media, each in response.get("content", {}).items()}
    headers = schema(response.get("headers", {}), named=True)
    codes = {
        example["value"]["code"]
        for media in response.get("content", {}).values()
        for example in media.get("examples", {}).values()
        if isinstance(example["value"], dict) and {"code", "request_id"} <= example["value"].keys()
    }
    named = all(value == f"#{name}" for name, value in headers.items())
    structure |= {"headers": sorted(headers) if named else headers} if headers else {}
    structure |= {"codes": sorted(codes)} if codes else {}
    return structure | _rest(response, "content", "headers")


def _not_described(described: dict[str, Any], served: Litestar) -> list[str]:
    """What is served besides: method or protocol, path and operationId."""
    found = set()
    for route in served.routes:
        path = re.sub(r":\w+}", "}", route.path) or "/"
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                names = [handler.operation_id] if isinstance(handler.operation_id, str) else []
                for method in handler.http_methods:
                    if method.lower() not in described["paths"].get(path, {}) and method != "OPTIONS":
                        found.add(" ".join([str(method), path, *names]))
        else:
            kind = {WebSocketRoute: "websocket", ASGIRoute: "asgi"}[type(route)]
            found.add(f"{kind} {path}")
    return sorted(found)
