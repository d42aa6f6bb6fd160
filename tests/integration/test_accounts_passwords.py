"""Which passwords are taken, and how many may be tried."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from infrastructure.auth.passwords import DUMMY_HASH, Argon2Passwords
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.people import PASSWORD, People, Person

WRONG = "password124"


async def register(api: httpx.AsyncClient, password: str, email: str | None = None) -> tuple[httpx.Response, str]:
    email = email or f"{uuid4().hex}@example.com"
    body = {"email": email, "password": password, "name": "Ada Lovelace"}
    return await api.post("/auth/register", json=body), email


async def log_in(api: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    return await api.post("/auth/login", json={"email": email, "password": password})


@pytest.mark.usefixtures("recommended_hashing")
def test_login_of_an_unknown_user_takes_as_long_as_of_a_known_one() -> None:
    assert not Argon2Passwords().needs_rehash(DUMMY_HASH)


# Which are taken


@pytest.mark.parametrize(
    "password",
    [
        "pass word with spaces ",
        "🐎🔋📎✅🐎🔋📎✅",
        "a\tb\nc\rd\x1be",
    ],
)
async def test_passwords_of_8_to_128_characters_are_accepted(shared_api: httpx.AsyncClient, password: str) -> None:
    answer, email = await register(shared_api, password)
    assert answer.status_code == 201
    assert (await log_in(shared_api, email, password)).status_code == 200
    assert (await log_in(shared_api, email, password[:-1])).status_code == 401
    assert (await log_in(shared_api, email, password + "x")).status_code == 401
    assert (await log_in(shared_api, email, password.swapcase() + "!")).status_code == 401


@pytest.mark.parametrize("password", ["seven77", "p" * 60_000])
async def test_other_passwords_are_rejected(shared_api: httpx.AsyncClient, password: str) -> None:
    answer, _ = await register(shared_api, password)
    assert answer.status_code == 400
    assert answer.json()["details"].keys() == {"password"}


async def test_password_of_one_megabyte_is_not_read(shared_api: httpx.AsyncClient) -> None:
    answer, email = await register(shared_api, "p" * 2**20)
    assert answer.status_code == 413
    assert (await log_in(shared_api, email, "p" * 2**20)).status_code == 413
    assert (await log_in(shared_api, email, "p" * 60_000)).status_code == 401


async def test_strict_policy_is_a_setting(
    make_shared_settings: Callable[..., Settings],
) -> None:
    app = create_app(make_shared_settings(password_policy="strict"))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as api:
        answer, _ = await register(api, PASSWORD)
        assert (answer.status_code, answer.json()["details"].keys()) == (400, {"password"})
        answer, email = await register(api, "violin-harbour-ostrich")
        assert answer.status_code == 201
        tokens = (await log_in(api, email, "violin-harbour-ostrich")).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        change = {"current_password": "violin-harbour-ostrich", "new_password": PASSWORD}
        assert (await api.post("/auth/password", json=change, headers=headers)).status_code == 400


# How many may be tried


@pytest.fixture
async def empty_redis(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()


@pytest.fixture(scope="module")
async def limited(make_shared_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(make_shared_settings(rate_limit_enabled="true"))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
        yield client


@pytest.fixture
def throttled(empty_redis: None, limited: httpx.AsyncClient) -> httpx.AsyncClient:
    return limited


def is_throttled(answer: httpx.Response) -> bool:
    if answer.status_code != 429:
        return False
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert answer.json()["code"] == "too_many_requests"
    assert answer.json()["error"] == "Too many attempts. Please wait and try again"
    return True


def is_throttled_at_all(answer: httpx.Response) -> bool:
    """In whichever shape its path words errors."""
    return (
        answer.status_code == 429 and answer.json()["code"] == "too_many_requests" and "retry-after" in answer.headers
    )


async def test_ten_wrong_passwords_an_hour_are_allowed(throttled: httpx.AsyncClient) -> None:
    person, other = await People(throttled).user(), await People(throttled).user()
    for _ in range(10):
        assert (await log_in(throttled, person.email, WRONG)).status_code == 401
    assert is_throttled(await log_in(throttled, person.email, WRONG))
    assert is_throttled(await log_in(throttled, person.email.upper(), PASSWORD))
    assert (await log_in(throttled, other.email, PASSWORD)).status_code == 200
    assert (await person.get("/profile")).status_code == 200


async def addresses_counted(redis_url: str, api: httpx.AsyncClient, *forwarded: str | Sequence[str]) -> int:
    """How many network addresses the limiter has seen after an attempt with each of these headers; several lines of
    one are given as a sequence."""
    for header in forwarded:
        credentials = {"email": "nobody@example.com", "password": WRONG}
        lines = [header] if isinstance(header, str) else header
        await api.post("/auth/login", json=credentials, headers=[("X-Forwarded-For", line) for line in lines])
    async with Redis.from_url(redis_url) as redis:
        return len([key async for key in redis.scan_iter(match="limit:login-address:*")])


async def test_forwarded_address_does_not_make_a_new_client(throttled: httpx.AsyncClient, redis_url: str) -> None:
    assert await addresses_counted(redis_url, throttled, "198.51.100.1", "198.51.100.2", "nonsense") == 1


async def test_address_from_a_trusted_proxy_is_used(redis_url: str, proxied: "Proxied") -> None:
    api = proxied("")
    spoofed = ("203.0.113.1, 198.51.100.1", "203.0.113.2, 198.51.100.1, 10.0.0.7", "x, 198.51.100.1")
    assert await addresses_counted(redis_url, api, *spoofed) == 1
    assert await addresses_counted(redis_url, api, "198.51.100.2", "2001:db8::1") == 3
    assert await addresses_counted(redis_url, api, ("203.0.113.3", "198.51.100.1"), ("x", "198.51.100.2")) == 3
    assert await addresses_counted(redis_url, api, ("203.0.113.4, 198.51.100.1", "10.0.0.7, 10.0.0.8")) == 3
    assert await addresses_counted(redis_url, api, "2001:db8::2", "2001:db8:0:0:ffff::1") == 3
    assert await addresses_counted(redis_url, api, "::ffff:198.51.100.1", "2001:db8:0:1::1") == 4


HOME, CAFE, ABROAD = "198.51.100.10", "198.51.100.20", "2001:db8:a::1"


@pytest.fixture(scope="module")
async def behind_proxy(
    make_shared_settings: Callable[..., Settings],
) -> AsyncIterator[Callable[[str], httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        app = create_app(make_shared_settings(rate_limit_enabled="true", trusted_proxies="127.0.0.0/8,10.0.0.0/8"))
        base = await stack.enter_async_context(serving(app))
        clients: dict[str, httpx.AsyncClient] = {}

        def at(address: str) -> httpx.AsyncClient:
            if address not in clients:
                headers = {"X-Forwarded-For": address} if address else {}
                clients[address] = httpx.AsyncClient(base_url=base, headers=headers)
                stack.push_async_callback(clients[address].aclose)
            return clients[address]

        yield at


@pytest.fixture
def proxied(empty_redis: None, behind_proxy: "Proxied") -> "Proxied":
    """A throttled API behind trusted proxies: clients of it, each at an address of its own; without an address one that
    sets the header itself."""
    return behind_proxy


Proxied = Callable[[str], httpx.AsyncClient]


async def guesses(api: httpx.AsyncClient, email: str, number: int) -> list[int]:
    return [(await log_in(api, email, WRONG)).status_code for _ in range(number)]


@pytest.mark.parametrize("path", ["/auth/login", "/api/login", "/api/auth/login"])
async def test_every_login_endpoint_is_throttled(proxied: Proxied, path: str) -> None:
    person = await People(proxied(HOME)).user()
    await guesses(proxied(CAFE), person.email, 10)
    credentials = {"email": person.email, "password": PASSWORD}
    assert is_throttled_at_all(await proxied(CAFE).post(path, json=credentials))
    assert (await proxied(HOME).post(path, json=credentials)).status_code == 200


@pytest.mark.parametrize(("path", "status"), [("/api/register", 200), ("/api/auth/register", 201)])
async def test_registration_makes_the_network_known(proxied: Proxied, path: str, status: int) -> None:
    email = f"{uuid4().hex}@example.com"
    body = {"email": email, "password": PASSWORD, "name": "Ada Lovelace"}
    assert (await proxied(HOME).post(path, json=body)).status_code == status
    await guesses(proxied(CAFE), email, 10)
    assert (await log_in(proxied(HOME), email, PASSWORD)).status_code == 200


async def test_password_can_be_changed_while_other_networks_are_throttled(proxied: Proxied) -> None:
    person = await People(proxied(HOME)).user()
    await guesses(proxied(CAFE), person.email, 10)
    change = {"current_password": PASSWORD, "new_password": "another password"}
    elsewhere = replace(person, api=proxied(ABROAD))
    assert is_throttled(await elsewhere.post("/auth/password", change))
    assert (await person.post("/auth/password", change)).status_code == 200


async def test_concurrent_guesses_over_two_processes_share_one_limit(
    empty_redis: None, make_shared_settings: Callable[..., Settings]
) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=await stack.enter_async_context(
                        serving(create_app(make_shared_settings(rate_limit_enabled="true")))
                    ),
                    timeout=170,
                )
            )
            for _ in range(2)
        ]
        person = await People(clients[0]).user()
        answers = await asyncio.gather(*(log_in(clients[n % 2], person.email, WRONG) for n in range(60)))
    assert sum(answer.status_code == 401 for answer in answers) == 10
    assert sum(is_throttled(answer) for answer in answers) == 50


async def test_without_redis_each_process_has_its_own_limit(make_shared_settings: Callable[..., Settings]) -> None:
    settings = make_shared_settings(rate_limit_enabled="true", redis_url="unix:///nowhere/redis.sock")
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as api:
        person: Person = await People(api).user()
        answers = [await log_in(api, person.email, WRONG) for _ in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        assert is_throttled(answers[-1])
        event = await (await People(api).facilitator()).creates_event()
        assert (await person.books(event["id"]))["status"] == "confirmed"
