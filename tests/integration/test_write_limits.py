"""Limits on writes over HTTP: the order of guards, stored answers and limits, and what they cost in Redis."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.description_checks import as_described
from tests.support.http import serving
from tests.support.people import People, Person, event

LIMITS = {
    "rate_limit_enabled": "true",
    "write_limit_bookings": "2",
    "write_limit_events": "2",
    "write_limit_series": "2",
    "write_limit_messages": "2",
    "write_limit_changes": "4",
    "write_limit_recipient": "3",
    "write_limit_networks": "2",
    "trusted_proxies": "127.0.0.0/8",
    "metrics_token": "a-token-of-the-metrics-of-these-tests",
}


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture(scope="module")
async def limited(make_shared_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(create_app(make_shared_settings(**LIMITS))) as address,
        httpx.AsyncClient(base_url=address, event_hooks={"response": [as_described]}) as client,
    ):
        yield client


@pytest.fixture
async def john(limited: httpx.AsyncClient, redis: Redis, shared_people: People) -> Person:
    person = await shared_people.facilitator()
    return Person(limited, person.id, person.name, person.email, person.access_token, person.refresh_token)


def is_limited(answer: httpx.Response) -> bool:
    if answer.status_code != 429:
        return False
    assert answer.json()["code"] == "too_many_requests"
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    return True


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/events"),
        ("POST", "/bookings"),
        ("POST", "/api/bookings"),
        ("POST", "/api/sessions"),
        ("POST", "/booking"),
        ("POST", "/booking/recurring"),
        ("POST", "/facilitator/events/1/messages"),
    ],
)
async def test_account_is_limited_in_the_shape_of_the_contract(john: Person, method: str, path: str) -> None:
    async def send() -> httpx.Response:
        return await john.api.request(method, path, json={}, headers=john.headers)

    invalid, _ = await send(), await send()
    assert invalid.status_code < 429
    refused = await send()
    assert is_limited(refused)
    assert refused.json().keys() == invalid.json().keys() - {"details"}


async def test_refused_writes_are_counted_by_limit(john: Person, limited: httpx.AsyncClient) -> None:
    headers = {"Authorization": f"Bearer {LIMITS['metrics_token']}"}

    async def refused() -> float:
        lines = (await limited.get("/metrics", headers=headers)).text.splitlines()
        counted = 'convene_limits_reached_total{limit="write-events-account"}'
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(counted))

    before = await refused()
    for _ in range(4):
        await john.post("/events", {})
    assert await refused() - before == 2


async def test_changes_of_one_event_are_limited_over_all_accounts(
    john: Person, limited: httpx.AsyncClient, shared_people: People
) -> None:
    created = await john.creates_event()
    path = f"/events/{created['id']}"
    assert [is_limited(await john.put(path, {"location": "A"})) for _ in range(3)] == [False] * 3
    other = await shared_people.facilitator()
    assert is_limited(await limited.put(f"/api/sessions/{created['id']}", json={}, headers=other.headers))
    assert not is_limited(await john.put("/events/999999", {"location": "A"}))


async def test_network_is_limited_over_its_accounts(
    limited: httpx.AsyncClient, redis: Redis, shared_people: People
) -> None:
    async def send(address: str) -> bool:
        person = await shared_people.facilitator()
        headers = person.headers | {"X-Forwarded-For": address}
        return is_limited(await limited.post("/events", json={}, headers=headers))

    assert [await send("203.0.113.7") for _ in range(6)] == [*[False] * 4, True, True]
    assert not await send("203.0.113.8")
    assert [await send("127.0.0.1") for _ in range(6)] == [False] * 6


async def test_repeated_request_with_its_key_is_answered_and_not_counted(john: Person) -> None:
    body = event()
    for _ in range(4):
        assert (await john.post("/events", body, key="the key")).status_code == 201
    assert not is_limited(await john.post("/events", event()))
    assert is_limited(await john.post("/events", event(), key="another"))


async def test_reads_are_not_limited_and_other_kinds_go_on(john: Person) -> None:
    while not is_limited(await john.post("/events", {})):
        pass
    assert (await john.get("/profile")).status_code == 200
    assert not is_limited(await john.put("/profile", {}))


async def test_write_takes_one_command_in_redis(john: Person, redis: Redis) -> None:
    await john.put("/profile", {"name": "John"})  # loads the script
    await redis.config_resetstat()
    await john.put("/profile", {"name": "John"})
    commands: dict[str, Any] = await redis.info("commandstats")
    sent = {name.removeprefix("cmdstat_") for name in commands} - {"config|resetstat", "config", "info"}
    assert sent <= {"evalsha", "get", "incr", "pexpire", "pttl"}, "and what its script calls"
    assert commands["cmdstat_evalsha"]["calls"] == 1


async def test_without_redis_each_process_limits(
    make_shared_settings: Callable[..., Settings], shared_people: People
) -> None:
    settings = make_shared_settings(**{**LIMITS, "redis_url": "unix:///nowhere/redis.sock"})
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as client:
        person = await shared_people.facilitator()
        answers = [await client.post("/events", json={}, headers=person.headers) for _ in range(3)]
        assert [is_limited(answer) for answer in answers] == [False, False, True]
