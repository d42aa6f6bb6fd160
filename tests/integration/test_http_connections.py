"""The limits on connections in the processes that serve: the API and the CRM."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.support.callers import Address, Answer, Caller, request
from tests.support.processes import ApiProcess, running_apis, running_crm_process, server_environ

BOUND = 8
LIMITS = {
    "http_max_connections": str(BOUND),
    "http_max_streams": "0",
    "http_head_seconds": "2",
    "http_body_seconds": "1",
    "http_idle_seconds": "30",
}
PATIENCE = 30


@pytest.fixture(scope="module")
async def environ(
    shared_database_url: str, postgres: EmbeddedPostgres, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    settings = server_environ(shared_database_url, redis_url, tmp_path_factory.mktemp("data"), **LIMITS)
    await asyncio.to_thread(postgres.execute, "CREATE DATABASE crm_connections OWNER convene")
    return settings | {"CRM_DATABASE_URL": postgres.dsn("crm_connections")}


@pytest.fixture(scope="module")
async def api(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApiProcess]:
    with running_apis(1, environ, tmp_path_factory.mktemp("logs")) as (process,):
        await process.ready()
        yield process


@pytest.fixture(scope="module")
async def crm(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApiProcess]:
    with running_crm_process(environ, tmp_path_factory.mktemp("logs")) as process:
        await process.ready("/")
        yield process


@pytest.fixture(params=["api", "crm"])
def service(request: pytest.FixtureRequest) -> ApiProcess:
    process: ApiProcess = request.getfixturevalue(request.param)
    return process


async def ask(address: Address, data: bytes) -> Answer:
    caller = await Caller.connect(address)
    try:
        async with asyncio.timeout(PATIENCE):
            return await caller(data)
    finally:
        caller.close()


@contextlib.asynccontextmanager
async def hanging(address: Address, number: int, data: bytes) -> AsyncIterator[list[asyncio.StreamReader]]:
    peers = [await asyncio.open_connection(*address) for _ in range(number)]
    for _, writer in peers:
        writer.write(data)
    try:
        yield [reader for reader, _ in peers]
    finally:
        for _, writer in peers:
            writer.close()


UNFINISHED_BODY = (
    b"POST /%s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a-token-of-the-tests\r\n"
    b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
)
UNFINISHED_HEAD = b"GET /events HTTP/1.1\r\nHost: a\r\nX-Unfinished: "


def is_api(service: ApiProcess, request: pytest.FixtureRequest) -> bool:
    return service is request.getfixturevalue("api")


async def test_stalled_connections_are_closed_and_block_no_other(service: ApiProcess) -> None:
    async with hanging(service.address, BOUND - 1, UNFINISHED_HEAD) as readers:
        assert (await ask(service.address, request("GET", "/"))).status == 200
        async with asyncio.timeout(PATIENCE):
            words = [await reader.read() for reader in readers]
    assert all(each.startswith(b"HTTP/1.1 408 ") for each in words)


async def test_process_at_its_limit_answers_in_the_format_of_the_path(
    service: ApiProcess, request_paths: dict[str, set[str]], request: pytest.FixtureRequest
) -> None:
    path = b"auth/login" if is_api(service, request) else b"notify"
    answers: dict[str, Answer] = {}
    async with asyncio.timeout(PATIENCE):
        while answers.keys() != request_paths.keys():  # on a slow machine the bodies' time ends before all have asked
            async with hanging(service.address, BOUND, UNFINISHED_BODY % path) as readers:
                reads = [asyncio.create_task(reader.read()) for reader in readers]
                answers |= await _refused(service.address, request_paths.keys() - answers.keys(), reads)
                probe = await ask(service.address, _get("/health" if is_api(service, request) else "/"))
                words = await asyncio.gather(*reads)
    assert probe.status == 200
    assert all(each.startswith(b"HTTP/1.1 408 ") for each in words)
    for each, answer in answers.items():
        error: dict[str, Any] = answer.json
        assert (answer.status, answer.header("retry-after"), answer.header("connection")) == (503, "2", "close"), each
        assert error.keys() == request_paths[each] | {"code", "request_id"}, each
        assert (error["code"], error["request_id"]) == ("too_many_connections", answer.header("x-request-id"))
        assert answer.header("x-content-type-options") == "nosniff"
    # Nothing of it lasts.
    assert (await ask(service.address, _get("/"))).status == 200


@pytest.fixture
def request_paths(service: ApiProcess, request: pytest.FixtureRequest) -> dict[str, set[str]]:
    """The keys of errors below each path."""
    if is_api(service, request):
        return {
            "/events": {"error"},
            "/api/events": {"error", "message"},
            "/api/sessions": {"error"},
            "/booking": {"detail"},
            "/calendar/feed": {"detail"},
        }
    return {"/notifications": {"error", "message"}, "/webhook": {"error", "message"}}


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


async def _refused(address: Address, paths: Iterable[str], reads: Sequence[asyncio.Task[bytes]]) -> dict[str, Answer]:
    """The answers from when the connections that hang have been counted until the first of them ends."""
    refused: dict[str, Answer] = {}
    for path in paths:
        while path not in refused and not any(read.done() for read in reads):
            answer = await ask(address, _get(path))
            if answer.status == 503:
                refused[path] = answer
    return refused


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET /?" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 30_000 + b"\r\n\r\n", 200),
    ],
)
async def test_heads_are_limited_in_both_services(service: ApiProcess, head: bytes, status: int) -> None:
    answer = await ask(service.address, head)
    assert answer.status == status
    assert status == 200 or {"error", "code", "request_id"} <= answer.json.keys()


async def test_streams_have_their_own_limit(api: ApiProcess) -> None:
    handshake = b"GET /ws/notifications HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    for head in (handshake, _get("/facilitator/feed")):
        answer = await ask(api.address, head)
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "too_many_connections")
    assert (await ask(api.address, _get("/facilitator/events"))).status == 401
