"""PostgreSQL unavailable, stalled or recovered, and Redis unavailable: the answers of a served API."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres import migrations
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.databases import TEMPLATE
from tests.support.http import serving
from tests.support.people import PASSWORD, People, Person, event
from tests.support.servers import running_postgres, running_redis
from tests.support.settings import settings_for

PROMISED_SECONDS = 50
"""Ten times what the README promises: these tests also run on a busy machine."""


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that may be stopped."""
    with running_postgres(TEMPLATE) as server:
        migrations.upgrade(server.dsn(TEMPLATE))
        yield server


def short_timeout(server: EmbeddedPostgres, redis_url: str, data: Path) -> Settings:
    return settings_for(server.dsn(TEMPLATE), redis_url, data, database_timeout_seconds="4")


@pytest.fixture
async def site(own_postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with _served(short_timeout(own_postgres, redis_url, tmp_path)) as client:
        yield client


@asynccontextmanager
async def _served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        yield client


def _processes_of(server: EmbeddedPostgres) -> list[int]:
    """The postmaster and its children."""
    assert server.pid is not None
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [server.pid, *map(int, children)]


async def every_route(john: Person, event_id: int) -> dict[str, httpx.Response]:
    """All at once, more than there are connections: as callers come."""
    calls = {
        "register": john.api.post(
            "/auth/register", json={"email": "late@example.com", "password": PASSWORD, "name": "Late"}
        ),
        "log in": john.api.post("/auth/login", json={"email": john.email, "password": PASSWORD}),
        "refresh": john.api.post("/auth/refresh", headers={"Authorization": f"Bearer {john.refresh_token}"}),
        "profile": john.get("/profile"),
        "list events": john.api.get("/events"),
        "show event": john.api.get(f"/events/{event_id}"),
        "create event": john.post("/events", json=event()),
        "book": john.post("/bookings", json={"event_id": event_id}),
        "list bookings": john.get("/bookings"),
        "cancel event": john.post("/facilitator/events/1/cancel"),
        "health": john.api.get("/health"),
    }
    return dict(zip(calls, await asyncio.gather(*(_within_the_promise(call) for call in calls.values())), strict=True))


async def _within_the_promise(call: Awaitable[httpx.Response]) -> httpx.Response:
    began = time.monotonic()
    answer = await call
    assert time.monotonic() - began < PROMISED_SECONDS, answer.request.url
    return answer


def assert_unavailable(answers: dict[str, httpx.Response]) -> None:
    for name, answer in answers.items():
        assert answer.status_code == 503, (name, answer.text)
        assert int(answer.headers["retry-after"]) >= 1
        if name == "health":
            assert answer.json()["status"] == "unhealthy"
            assert answer.json()["database"] == "disconnected"
        else:
            error = answer.json()
            assert (error["code"], error["request_id"]) == ("unavailable", answer.headers["x-request-id"])
            assert error["error"] == "The service cannot reach its database. Please try again shortly"


async def assert_normal_again(john: Person) -> None:
    async with asyncio.timeout(PROMISED_SECONDS):
        while (await john.api.get("/health")).status_code != 200:  # noqa: ASYNC110 (a server has no event)
            await asyncio.sleep(0.05)
    created = await john.creates_event()
    assert (await john.books(created["id"]))["status"] == "confirmed"
    answer = await john.api.post("/auth/login", json={"email": john.email, "password": PASSWORD})
    assert answer.status_code == 200


# Takes 4 s: an answer comes after 4 s.
async def test_without_postgresql_every_route_returns_503_and_recovers(
    site: httpx.AsyncClient, own_postgres: EmbeddedPostgres
) -> None:
    john = await People(site).facilitator()
    created = await john.creates_event()
    own_postgres.stop()
    try:
        assert_unavailable(await every_route(john, created["id"]))
        assert (await site.get("/")).status_code == 200
        assert (await site.get("/nowhere")).status_code == 404
        assert (await site.post("/events", json={})).status_code == 401
    finally:
        own_postgres.start()
    await assert_normal_again(john)


async def test_process_starts_and_returns_503_while_postgresql_is_unavailable(
    own_postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    own_postgres.stop()
    try:
        async with _served(short_timeout(own_postgres, redis_url, tmp_path)) as client:
            assert (await client.get("/events")).status_code == 503
            assert (await client.get("/")).status_code == 200
            own_postgres.start()
            assert (await client.get("/events")).status_code == 200
    finally:
        if own_postgres.poll() is not None:
            own_postgres.start()


# Takes 9 s: an answer comes after 4 s, twice.
async def test_hanging_postgresql_is_treated_as_unavailable(
    site: httpx.AsyncClient, own_postgres: EmbeddedPostgres
) -> None:
    john = await People(site).facilitator()
    created = await john.creates_event()
    await every_route(john, created["id"])
    servers = _processes_of(own_postgres)
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            assert_unavailable(await every_route(john, created["id"]))
        assert (await site.get("/")).status_code == 200
    finally:
        for pid in servers:
            os.kill(pid, signal.SIGCONT)
    await assert_normal_again(john)


async def test_without_redis_bookings_succeed(database_url: str, tmp_path: Path) -> None:
    with running_redis() as redis:
        settings = settings_for(database_url, redis.url, tmp_path, rate_limit_enabled="true")
        async with _served(settings) as client:
            john, ada = await People(client).facilitator(), await People(client).user()
            first, second = await john.creates_event(), await john.creates_event()
            await ada.books(first["id"])
            redis.stop()
            assert (await ada.books(second["id"]))["status"] == "confirmed"
            assert (await client.get("/health")).status_code == 200
            late = await People(client).user()
            assert (await late.books(first["id"]))["status"] == "confirmed"
            redis.start()
            assert (await late.books(second["id"]))["status"] == "confirmed"
