"""Any invalid input gets the contract's 4xx with a message: never a 5xx, never a traceback.

Every write route of contract B takes every bad body.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.people import PASSWORD, Person, event
from tests.support.process_harness import LONG_RUN

JSON = {"Content-Type": "application/json"}
WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "register": ("POST /auth/register", {"email": "new@example.com", "password": PASSWORD, "name": "New"}),
    "log in": ("POST /auth/login", {"email": "new@example.com", "password": PASSWORD}),
    "log out": ("POST /auth/logout", {"everywhere": False}),
    "change password": ("POST /auth/password", {"current_password": PASSWORD, "new_password": PASSWORD}),
    "change profile": ("PUT /profile", {"name": "New"}),
    "create event": ("POST /events", event()),
    "change event": ("PUT /events/{event}", {"title": "New"}),
    "book": ("POST /bookings", {"event_id": 1, "notes": "x"}),
}


@dataclass(frozen=True)
class Route:
    """A route that takes a body, and a body it would take."""

    method: str
    path: str
    body: dict[str, Any]

    def with_fragment(self, fragment: bytes, field: str = "unheard_of") -> bytes:
        others = {name: value for name, value in self.body.items() if name != field}
        return json.dumps(others).encode()[:-1] + (b", " if others else b"") + f'"{field}": '.encode() + fragment + b"}"

    async def send(self, who: Person, body: Any, headers: dict[str, str] = JSON) -> httpx.Response:
        return await who.api.request(self.method, self.path, content=body, headers=who.headers | headers)


@pytest.fixture(scope="module")
async def created(john: Person) -> dict[str, Any]:
    return await john.creates_event()


def on_routes(cases: Iterable[tuple[str, *tuple[Any, ...]]]) -> list[Any]:
    """Each case, which is its name and its values, on two routes and each route with some of them: all read bodies by
    the same function. In a long run all cases on all routes."""
    names = list(WRITES)
    return [
        pytest.param(route, *values, id=f"{name}-{route}")
        for number, (name, *values) in enumerate(cases)
        for route in (names if LONG_RUN else [names[(number + step) % len(names)] for step in (0, 3)])
    ]


@pytest.fixture(params=WRITES)
def route(request: pytest.FixtureRequest, created: dict[str, Any]) -> Route:
    target, body = WRITES[request.param]
    method, path = target.split()
    return Route(method, path.format(event=created["id"]), body)


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, str]:
    """The details of a refusal in the contract's shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()
    assert error["code"] == code
    assert error["error"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "Traceback" not in answer.text
    details: dict[str, str] = error.get("details", {})
    return details


@pytest.mark.parametrize(
    ("route", "body"),
    on_routes(
        [
            ("cut off", b"{"),
            ("single quotes", b"{'a': 1}"),
            ("trailing comma", b'{"a": 1,}'),
            ("two documents", b"{} {}"),
            ("byte order mark", b"\xef\xbb\xbf{}"),
            ("NUL", b"\x00"),
            ("UTF-16", b"\xff\xfe{\x00}\x00"),
            ("null", b"null"),
            ("array", b"[]"),
            ("string", b'"text"'),
            ("number", b"1"),
            ("1,000 arrays", b"[" * 1000 + b"]" * 1000),
            ("65,536 open brackets", b"[" * 65536),
            ("60,000 backslashes", b'"' + b"\\" * 60000),
            ("20,000 broken objects", b'{"' * 20000),
        ]
    ),
    indirect=["route"],
)
async def test_body_that_is_not_a_json_object_returns_400(john: Person, route: Route, body: bytes) -> None:
    if route.path == "/auth/logout" and body == b"null":
        return  # its body is optional, and null is one way to leave it out
    assert refused(await route.send(john, body), 400, "validation_error").keys() == {"body"}


FRAGMENTS = [
    ("1,000 arrays", b"[" * 1000 + b"]" * 1000),
    ("1,000 objects", b'{"a":' * 1000 + b"1" + b"}" * 1000),
    ("40 arrays", b"[" * 40 + b"]" * 40),
    ("invalid UTF-8", b'"\xff"'),
    ("surrogate in UTF-8", b'"\xed\xa0\x80"'),
    ("lone surrogate", b'"\\ud800"'),
    ("escaped NUL", b'"a\\u0000b"'),
    ("escaped NUL after a backslash", b'"a\\\\\\u0000b"'),
    ("NUL in a key", b'{"a\\u0000": 1}'),
    ("raw NUL", b'"a\x00b"'),
    ("NaN", b"NaN"),
    ("Infinity", b"Infinity"),
    ("-Infinity", b"-Infinity"),
    ("1e999999", b"1e999999"),
    ("+1", b"+1"),
    ("01", b"01"),
    ("single quotes", b"'x'"),
    ("unknown escape", b'"\\x41"'),
]


@pytest.mark.parametrize(
    ("route", "fragment", "known"),
    on_routes(
        (f"{name}-{'known' if known else 'unknown'} field", fragment, known)
        for known in (True, False)
        for name, fragment in FRAGMENTS
    ),
    indirect=["route"],
)
async def test_invalid_fragment_in_a_body_returns_400(john: Person, route: Route, fragment: bytes, known: bool) -> None:
    field = next(iter(route.body)) if known else "unheard_of"
    details = refused(await route.send(john, route.with_fragment(fragment, field)), 400, "validation_error")
    assert details.keys() == {"body"}


@pytest.mark.parametrize("value", [None, True, 1.5, -1, 2**63, -(2**63) - 1, 10**400, "\u202e", "", [], {}, [[1]]])
async def test_value_of_another_type_never_returns_5xx(john: Person, created: dict[str, Any], value: object) -> None:
    for target, body in WRITES.values():
        if target in {"POST /auth/logout", "POST /auth/password"}:
            continue  # would end the login of the other tests where it is accepted
        method, path = target.split()
        for field in body:
            answer = await john.api.request(
                method, path.format(event=created["id"]), json=body | {field: value}, headers=john.headers
            )
            assert answer.status_code in {200, 201, 400, 401}, (target, field, answer.text)
            if answer.status_code >= 400:
                assert {"error", "code", "request_id"} <= answer.json().keys()


async def test_nesting_depth_ignores_strings(john: Person) -> None:
    body = event(description='[{"' * 500, title="back\\slash", unheard_of=[[[[{"a": "]]]]"}]]]])
    assert (await john.post("/events", json=body)).status_code == 201


async def test_escaped_backslash_before_u0000_is_not_a_nul(john: Person) -> None:
    created = await john.creates_event(title="a\\u0000b")
    assert created["title"] == "a\\u0000b"


async def test_unknown_fields_are_ignored_and_the_last_duplicate_is_used(john: Person, created: dict[str, Any]) -> None:
    body = b'{"title": "First", "unheard_of": {"a": [1, null, 1e300]}, "title": "Last"}'
    answer = await john.api.put(f"/events/{created['id']}", content=body, headers=john.headers | JSON)
    assert answer.json()["event"]["title"] == "Last"


CONTENT_TYPES = [
    *(None, "", "json", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data", "*/*")
]


@pytest.mark.parametrize(
    ("route", "content_type"), on_routes((str(each), each) for each in CONTENT_TYPES), indirect=["route"]
)
async def test_body_without_json_content_type_returns_415(john: Person, route: Route, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    refused(await route.send(john, json.dumps(route.body).encode(), headers), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "APPLICATION/JSON; charset=UTF-8", "application/vnd.api+json"]
)
async def test_other_json_content_types_are_accepted(john: Person, content_type: str) -> None:
    body = json.dumps(event()).encode()
    answer = await john.api.post("/events", content=body, headers=john.headers | {"Content-Type": content_type})
    assert answer.status_code == 201


async def test_missing_body_returns_400(john: Person, route: Route) -> None:
    if route.path == "/auth/logout":
        return  # its body is optional
    for headers in (JSON, {}):
        assert refused(await route.send(john, b"", headers), 400, "validation_error") == {"body": "Is missing"}


async def test_body_over_64_kib_returns_413(john: Person, route: Route) -> None:
    fits = route.with_fragment(b'"' + b"x" * 60000 + b'"')
    padded = fits + b" " * (65536 + 1 - len(fits))

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(padded), 4096):
            yield padded[start : start + 4096]

    refused(await route.send(john, padded), 413, "body_too_large")
    refused(await route.send(john, in_pieces()), 413, "body_too_large")


async def test_body_of_64_kib_is_read_with_and_without_its_length(john: Person) -> None:
    body = json.dumps(event()).encode()
    padded = body + b" " * (65536 - len(body))

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(padded), 4096):
            yield padded[start : start + 4096]

    for content in (padded, in_pieces()):
        answer = await john.api.post("/events", content=content, headers=john.headers | JSON)
        assert answer.status_code == 201


# Paths and methods


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/events/1/nothing", "/events/%00", "/%00", "/bookings/1/cancel/now", "/events/1%2F2", "/%FF"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_unknown_path_returns_404(john: Person, method: str, path: str) -> None:
    answer = await john.api.request(method, path, headers=john.headers)
    refused(answer, 404, "not_found")
    assert answer.json()["error"] == "Resource not found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/events", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/bookings/", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/events/1", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("GET", "/auth/login", "OPTIONS, POST"),
        ("HEAD", "/auth/login", "OPTIONS, POST"),
        ("POST", "/profile", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("TRACE", "/events", "GET, HEAD, OPTIONS, POST"),
    ],
)
async def test_wrong_method_returns_405_with_the_allowed_ones(
    john: Person, method: str, path: str, allowed: str
) -> None:
    answer = await john.api.request(method, path, headers=john.headers)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    if method != "HEAD":
        refused(answer, 405, "method_not_allowed")
    options = await john.api.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allowed, b"")


@pytest.mark.parametrize("path", ["/", "/health", "/events", "/profile", "/nowhere"])
async def test_head_is_a_get_without_the_body(john: Person, path: str) -> None:
    head = await john.api.head(path, headers=john.headers)
    get = await john.get(path)
    assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])
    assert head.content == b""


# The edge of every answer


@pytest.mark.parametrize("path", ["/", "/events", "/nowhere", "/profile", "/events/x"])
async def test_every_answer_has_a_request_id_and_security_headers(shared_api: httpx.AsyncClient, path: str) -> None:
    answer = await shared_api.get(path, headers={"X-Request-Id": "made-by-the-client.1"})
    assert answer.headers["x-request-id"] == "made-by-the-client.1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "given", ["short", "x" * 65, "with space in it", "a\tbcdefghij", '{"inject": "log"}', "ünïcödé-id"]
)
async def test_invalid_request_id_is_replaced(shared_api: httpx.AsyncClient, given: str) -> None:
    answer = await shared_api.get("/nowhere", headers={b"X-Request-Id": given.encode()})
    assert answer.headers["x-request-id"] != given
    assert len(answer.json()["request_id"]) == 32


async def test_other_origins_get_no_permission(shared_api: httpx.AsyncClient) -> None:
    origin = {"Origin": "https://evil.example"}
    assert "access-control-allow-origin" not in (await shared_api.get("/events", headers=origin)).headers
    preflight = await shared_api.options("/events", headers=origin | {"Access-Control-Request-Method": "POST"})
    assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param("POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="negative length"),
        pytest.param("POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\n", id="length with underscore"),
        pytest.param("POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: " + "9" * 30 + "\r\n\r\n", id="huge length"),
        pytest.param(
            "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}", id="two lengths"
        ),
        pytest.param(
            "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="length and chunks",
        ),
        pytest.param("POST /events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", id="broken chunk"),
        pytest.param("GET /events HTTP/1.1\r\nHost: a b\r\n\r\n", id="broken host"),
        pytest.param("GET /events?type=\x01 HTTP/1.1\r\nHost: x\r\n\r\n", id="control character in the query"),
        pytest.param("FROBNICATE /events HTTP/1.1\r\nHost: x\r\n\r\n", id="unheard-of method"),
    ],
)
async def test_malformed_request_returns_4xx(shared_api: httpx.AsyncClient, request_head: str) -> None:
    reader, writer = await asyncio.open_connection(shared_api.base_url.host, shared_api.base_url.port)
    writer.write(request_head.encode())
    status_line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert status_line.startswith(b"HTTP/1.1 4"), status_line


async def test_invalid_input_was_not_stored(shared_database: asyncpg.Connection) -> None:
    """Last in the file."""
    assert await shared_database.fetchval("SELECT count(*) FROM users WHERE role = 'admin'") == 0
    for text in ("users.name", "users.email", "events.title", "events.location"):
        table, column = text.split(".")
        assert await shared_database.fetchval(f"SELECT count(*) FROM {table} WHERE {column} ~ '[[:cntrl:]]'") == 0
