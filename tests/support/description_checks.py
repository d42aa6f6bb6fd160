"""Compares answers of the API with its description: an undescribed answer is an error in one of them."""

import json
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker
from litestar import Litestar

from domain.errors import NotFound
from infrastructure import container
from infrastructure.settings import load_settings
from interfaces.cli.openapi import DRAWING
from interfaces.http.app import create_litestar
from interfaces.http.openapi import document as make_document
from interfaces.http.openapi.operations import operations as routed

FORMATS = FormatChecker(["date-time", "uuid"])
_PARAMETER = re.compile(r"{\w+}")


@cache
def app() -> Litestar:
    return create_litestar(container.build(load_settings(DRAWING)))


@cache
def document() -> dict[str, Any]:
    return make_document(app(), ["/"])


def misfits(schema: dict[str, Any], value: Any) -> list[str]:
    """Where a value breaks a schema of the document, whose references lead into it."""
    return [f"{error.json_path}: {error.message}" for error in _validator(json.dumps(schema)).iter_errors(value)]


@cache
def _validator(schema: str) -> Draft202012Validator:
    """Has the schemas in place of the references to them: following one takes longer than checking a value."""
    return Draft202012Validator(_resolved(json.loads(schema)), format_checker=FORMATS)


def _resolved(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_resolved(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    here = {name: _resolved(part) for name, part in schema.items() if name != "$ref"}
    reference = schema.get("$ref")
    if not isinstance(reference, str):  # none, or a property of this name
        return here if reference is None else here | {"$ref": _resolved(reference)}
    _, kind, name = reference.removeprefix("#/").split("/")
    target = _component(kind, name)
    return {**here, "allOf": [*here.get("allOf", []), target]} if here else target


@cache
def _component(kind: str, name: str) -> Any:
    return _resolved(document()["components"][kind][name])


@dataclass(frozen=True)
class Described:
    """An operation as the document has it."""

    method: str
    path: str
    operation: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def takes_files(self) -> bool:
        return "multipart/form-data" in self.operation.get("requestBody", {}).get("content", {})

    def misfits(self, status: int, content_type: str, body: Any) -> list[str]:
        """Where an answer differs from what the document says of it."""
        response = self.operation["responses"].get(str(status))
        if response is None:
            return [f"{self}: {status} is not documented: {body}"]
        content = response.get("content", {}).get(content_type)
        if content is None:
            return [] if "content" not in response else [f"{self}: {status} as {content_type} is not documented"]
        if content_type != "application/json":
            return []
        wrong = [f"{self}: {status} {misfit}" for misfit in misfits(content["schema"], body)]
        codes = {example["value"]["code"] for example in content.get("examples", {}).values()}
        if codes and body.get("code") not in codes:
            wrong.append(f"{self}: {status} with code {body.get('code')} is not documented, only {sorted(codes)}")
        return wrong


@cache
def operations() -> list[Described]:
    """Paths without parameters first, as a router tries them."""
    found = [
        Described(method.upper(), path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]
    return sorted(found, key=lambda described: described.path.count("{"))


def endpoints() -> list[str]:
    """`GET /events/{event_id}`, for every operation: known even while the document cannot be made. Sorted, since the
    framework keeps the methods of a path in a set and every test process must collect the same."""
    return sorted(f"{operation.method.upper()} {operation.path}" for operation in routed(app()))


def the(endpoint: str) -> Described:
    return next(described for described in operations() if str(described) == endpoint)


def named(operation_id: str) -> Described:
    return next(described for described in operations() if described.operation["operationId"] == operation_id)


@lru_cache(10_000)
def find(method: str, path: str) -> Described | None:
    """None for what the document does not speak of: other methods and paths, the pages of the document itself."""
    path = path.rstrip("/") or "/"
    method = "GET" if method == "HEAD" else method
    paths = [described for described in operations() if _pattern(described.path).fullmatch(path)]
    exact = [described for described in paths if described.path == paths[0].path]
    return next((described for described in exact if described.method == method), None)


async def as_described(response: httpx.Response) -> None:
    """A hook of httpx clients: fails when an answer is not as the document says."""
    described = find(response.request.method, response.request.url.path)
    if described is None or response.request.method == "HEAD":
        return
    await response.aread()
    content_type = response.headers.get("content-type", "").partition(";")[0]
    is_json = content_type == "application/json" and response.content
    body: Any = response.json() if is_json else response.text
    if response.status_code == 404 and body.get("code") == NotFound.code:
        return  # no route matched: a NUL in the path, for instance
    wrong = described.misfits(response.status_code, content_type, body)
    assert not wrong, "\n".join(wrong)


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(part) for part in _PARAMETER.split(path)))
