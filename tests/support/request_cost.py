"""The cost of a request: the CPU time of the event loop's thread, for every text field of an API."""

import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

MARKS = "\u0301\u0316"
SHORT = "\u00e9"
"""Two marks whose order normalisation exchanges, so that a long run of each is sorted."""
KIBIBYTES = {"body": 60, "query": 30, "path": 30}
"""The head of a request, which has its path and query, is at most 32 KiB long."""
MOST_MILLISECONDS = 20


@dataclass(frozen=True)
class TextField:
    """Where one text goes into an operation: its body, with the steps to the value, its query or its path."""

    method: str
    path: str
    where: str
    steps: tuple[str | int, ...]
    body: Any
    query: dict[str, str]
    parameters: dict[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.where} {'.'.join(map(str, self.steps))}"


def text_fields(document: dict[str, Any]) -> Iterator[TextField]:
    """Every string of every request that an OpenAPI document describes."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            described = operation.get("parameters", [])
            examples = {each["name"]: str(each.get("example", 1)) for each in described if each["in"] == "path"}
            needed = {
                each["name"]: str(each.get("example", "x"))
                for each in described
                if each["in"] == "query" and each.get("required")
            }
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema, body = content.get("schema", {}), _example(content)
            common = (method.upper(), path)
            for each in described:
                if each["in"] in {"path", "query"}:
                    yield TextField(*common, each["in"], (each["name"],), body, needed, examples)
            for steps in _strings(document, schema, ()):
                yield TextField(*common, "body", steps, body, needed, examples)


def request(place: TextField, text: str) -> tuple[dict[str, Any], bytes]:
    """The ASGI scope and the body of a request with this text in its place."""
    parameters, query, body = dict(place.parameters), dict(place.query), deepcopy(place.body)
    if place.where == "path":
        parameters[str(place.steps[0])] = text
    elif place.where == "query":
        query[str(place.steps[0])] = text
    else:
        body = _put(body, place.steps, text)
    path = place.path
    for name, value in parameters.items():
        path = path.replace(f"{{{name}}}", value)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": place.method,
        "path": path,
        "raw_path": quote(path).encode(),
        "root_path": "",
        "query_string": urlencode(query).encode(),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    return scope, b"" if body is None else json.dumps(body, ensure_ascii=False).encode()


def long_text(place: TextField) -> str:
    """Of its body 60 KiB, of its percent-encoded query or path 30."""
    a_mark = 2 if place.where == "body" else 6
    many = KIBIBYTES[place.where] * 1024 // a_mark // 2
    return "a" + MARKS[0] * many + MARKS[1] * many + "@x.com"


async def too_dear(app: Any, document: dict[str, Any], headers: dict[str, str]) -> list[str]:
    """What costs more than the same operation with a short text."""
    found: list[str] = []
    usual: dict[tuple[str, str, str], float] = {}
    for place in {str(each): each for each in text_fields(document)}.values():
        kind = (place.method, place.path, place.where)
        if kind not in usual:
            _, usual[kind] = await cost(app, place, SHORT, headers)
        dear = 0.0
        for _ in range(2):  # a second time, as the garbage of others may have been collected in the first
            status, dear = await cost(app, place, long_text(place), headers)
            assert status != 500, place
            if dear - usual[kind] <= MOST_MILLISECONDS:
                break
        else:
            found.append(f"{place}: {dear:.0f} ms, usually {usual[kind]:.0f} ms")
    return found


async def cost(app: Any, place: TextField, text: str, headers: dict[str, str]) -> tuple[int, float]:
    """The answer's status, and milliseconds of CPU in the thread of the event loop."""
    scope, body = request(place, text)
    given = {"host": "127.0.0.1", **headers}
    if body:
        given |= {"content-type": "application/json", "content-length": str(len(body))}
    scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    status, read = 0, False

    async def receive() -> dict[str, Any]:
        nonlocal read
        if read:
            return {"type": "http.disconnect"}
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    began = time.thread_time()
    await app(scope, receive, send)
    return status, (time.thread_time() - began) * 1000


def _example(content: dict[str, Any]) -> Any:
    if "example" in content:
        return content["example"]
    return next((each["value"] for each in content.get("examples", {}).values()), None)


def _strings(
    document: dict[str, Any], schema: dict[str, Any], steps: tuple[str | int, ...], seen: tuple[str, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    if (name := schema.get("$ref")) is not None:
        if name not in seen:
            target = document["components"]["schemas"][name.rpartition("/")[2]]
            yield from _strings(document, target, steps, (*seen, name))
        return
    kinds = schema.get("type", [])
    if "string" in ([kinds] if isinstance(kinds, str) else kinds) or "const" in schema or "enum" in schema:
        yield steps
    for name, inner in schema.get("properties", {}).items():
        yield from _strings(document, inner, (*steps, name), seen)
    if isinstance(inner := schema.get("items"), dict):
        yield from _strings(document, inner, (*steps, 0), seen)
    if isinstance(inner := schema.get("additionalProperties"), dict):
        yield (*steps, "<key>")
        yield from _strings(document, inner, (*steps, "monday"), seen)
    for inner in (*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])):
        yield from _strings(document, inner, steps, seen)


def _put(body: Any, steps: tuple[str | int, ...], text: str) -> Any:
    """The body with the text at these steps; what is missing on the way is made."""
    if not steps:
        return text
    first, rest = steps[0], steps[1:]
    if first == 0:
        return [_put(body[0] if isinstance(body, list) and body else None, rest, text)]
    body = dict(body) if isinstance(body, dict) else {}
    if first == "<key>":
        return body | {text: []}
    return body | {first: _put(body.get(first), rest, text)}
