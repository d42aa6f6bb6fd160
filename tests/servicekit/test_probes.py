"""The liveness probe of a process that serves nothing else."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from servicekit.probes import EXPOSITION, ProcessMetrics, serve_probes
from servicekit.tasks import LongLivedTasks


@pytest.fixture
def tasks() -> LongLivedTasks:
    return LongLivedTasks()


@pytest.fixture
async def probe(tasks: LongLivedTasks) -> AsyncIterator[httpx.AsyncClient]:
    server = await serve_probes(0, tasks)
    (port,) = [each.getsockname()[1] for each in server.sockets if each.family == socket.AF_INET]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.close()


async def ending() -> None:
    pass


async def test_process_is_alive_until_a_task_ends(probe: httpx.AsyncClient, tasks: LongLivedTasks) -> None:
    answer = await probe.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})
    await tasks.start("deliver crm", ending())
    await asyncio.sleep(0)
    answer = await probe.get("/health/live?verbose=1")
    assert (answer.status_code, answer.json()) == (503, {"status": "dead", "ended_tasks": ["deliver crm"]})
    head = await probe.head("/health/live")
    assert (head.status_code, head.content) == (503, b"")


async def test_other_paths_and_methods_are_refused(probe: httpx.AsyncClient) -> None:
    assert (await probe.get("/metrics")).status_code == 404
    refused = await probe.post("/health/live")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_request_without_end_is_closed(probe: httpx.AsyncClient) -> None:
    with socket.create_connection((probe.base_url.host, probe.base_url.port or 0)) as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(connection, b"GET " + b"/" * 20_000)
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""


async def test_metrics_require_their_token(tasks: LongLivedTasks) -> None:
    server = await serve_probes(0, tasks, ProcessMetrics("a token", lambda: b"up 1\n"))
    (port,) = [each.getsockname()[1] for each in server.sockets if each.family == socket.AF_INET]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": "Basic a token"}):
            refused = await client.get("/metrics", headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        answer = await client.get("/metrics", headers={"authorization": "bearer a token"})
        assert (answer.status_code, answer.text) == (200, "up 1\n")
        assert answer.headers["content-type"] == EXPOSITION
        assert (await client.post("/metrics")).status_code == 405
    server.close()


async def test_without_a_token_there_are_no_metrics(tasks: LongLivedTasks) -> None:
    server = await serve_probes(0, tasks, ProcessMetrics(None, lambda: b"up 1\n"))
    (port,) = [each.getsockname()[1] for each in server.sockets if each.family == socket.AF_INET]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/metrics", headers={"Authorization": "Bearer x"})).status_code == 404
    server.close()
