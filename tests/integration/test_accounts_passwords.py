"""Which passwords are taken, and how many may be tried."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from domain.accounts import InvalidCredentials
from domain.errors import TooManyRequests
from infrastructure import container
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
        "eight888",
        "p" * 128,
        "        ",
        "pass word with spaces ",
        "пароль-пароль",
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


@pytest.mark.parametrize("password", ["", "seven77", "p" * 129, "p" * 60_000, "e\u0301" * 7, "\ufdfa" * 20])
async def test_other_passwords_are_rejected(shared_api: httpx.AsyncClient, password: str) -> None:
    """The last two have 14 and 20 characters; after NFKC 7 and 360."""
    answer, _ = await register(shared_api, password)
    assert answer.status_code == 400
    assert answer.json()["details"].keys() == {"password"}


async def test_password_of_one_megabyte_is_not_read(shared_api: httpx.AsyncClient) -> None:
    answer, email = await register(shared_api, "p" * 2**20)
    assert answer.status_code == 413
    assert (await log_in(shared_api, email, "p" * 2**20)).status_code == 413
    assert (await log_in(shared_api, email, "p" * 60_000)).status_code == 401


async def test_unicode_forms_of_one_password_are_equal(shared_api: httpx.AsyncClient) -> None:
    composed, decomposed = (unicodedata.normalize(form, "crème brûlée") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for registered, typed in ((composed, decomposed), (decomposed, composed), ("ﬁve-ﬁngers", "five-fingers")):
        _, email = await register(shared_api, registered)
        assert (await log_in(shared_api, email, typed)).status_code == 200


async def test_strict_policy_requires_15_characters_and_no_common_password(
    make_settings: Callable[..., Settings],
) -> None:
    app = create_app(make_settings(password_policy="strict"))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as api:
        for weak in (
            PASSWORD,
            "p" * 15,
            "passwordpassword1",
            "qwertyuiop123456",
            "ada lovelace 123",
            "abcabcabcabcabcabc",
        ):
            answer, _ = await register(api, weak)
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


@pytest.fixture
async def throttled(empty_redis: None, make_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(make_settings(rate_limit_enabled="true"))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
        yield client


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


@dataclass
class CountingHasher:
    real: Any
    verified: int = 0

    async def hash(self, password: str) -> str:
        hashed: str = await self.real.hash(password)
        return hashed

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.verified += 1
        matches: bool = await self.real.verify(password, password_hash)
        return matches

    def needs_rehash(self, password_hash: str) -> bool:
        return False


async def test_ten_wrong_passwords_an_hour_are_allowed(throttled: httpx.AsyncClient) -> None:
    person, other = await People(throttled).user(), await People(throttled).user()
    for _ in range(10):
        assert (await log_in(throttled, person.email, WRONG)).status_code == 401
    assert is_throttled(await log_in(throttled, person.email, WRONG))
    assert is_throttled(await log_in(throttled, person.email.upper(), PASSWORD))
    assert (await log_in(throttled, other.email, PASSWORD)).status_code == 200
    assert (await person.get("/profile")).status_code == 200


async def test_successful_logins_do_not_count(throttled: httpx.AsyncClient) -> None:
    person = await People(throttled).user()
    for _ in range(9):
        assert (await log_in(throttled, person.email, WRONG)).status_code == 401
    for _ in range(12):
        assert (await log_in(throttled, person.email, PASSWORD)).status_code == 200
    assert (await log_in(throttled, person.email, WRONG)).status_code == 401
    assert is_throttled(await log_in(throttled, person.email, WRONG))


async def test_unknown_account_is_throttled_too(throttled: httpx.AsyncClient) -> None:
    for _ in range(10):
        assert (await log_in(throttled, "nobody@example.com", WRONG)).status_code == 401
    assert is_throttled(await log_in(throttled, "nobody@example.com", WRONG))


async def test_current_password_cannot_be_guessed_by_changing_it(throttled: httpx.AsyncClient) -> None:
    person = await People(throttled).user()
    change = {"current_password": WRONG, "new_password": "another password"}
    for _ in range(10):
        assert (await person.post("/auth/password", change)).status_code == 401
    assert is_throttled(await person.post("/auth/password", change | {"current_password": PASSWORD}))


async def test_registrations_of_one_email_are_limited(throttled: httpx.AsyncClient) -> None:
    _, email = await register(throttled, PASSWORD)
    for _ in range(9):
        assert (await register(throttled, PASSWORD, email))[0].status_code == 400
    assert is_throttled((await register(throttled, PASSWORD, email))[0])


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


async def test_address_from_a_trusted_proxy_is_used(
    empty_redis: None, redis_url: str, make_settings: Callable[..., Settings]
) -> None:
    app = create_app(make_settings(rate_limit_enabled="true", trusted_proxies="127.0.0.0/8,10.0.0.0/8"))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as api:
        spoofed = ("203.0.113.1, 198.51.100.1", "203.0.113.2, 198.51.100.1, 10.0.0.7", "x, 198.51.100.1")
        assert await addresses_counted(redis_url, api, *spoofed) == 1
        assert await addresses_counted(redis_url, api, "198.51.100.2", "2001:db8::1") == 3
        assert await addresses_counted(redis_url, api, ("203.0.113.3", "198.51.100.1"), ("x", "198.51.100.2")) == 3
        assert await addresses_counted(redis_url, api, ("203.0.113.4, 198.51.100.1", "10.0.0.7, 10.0.0.8")) == 3
        assert await addresses_counted(redis_url, api, "2001:db8::2", "2001:db8:0:0:ffff::1") == 3
        assert await addresses_counted(redis_url, api, "::ffff:198.51.100.1", "2001:db8:0:1::1") == 4


HOME, CAFE, ABROAD = "198.51.100.10", "198.51.100.20", "2001:db8:a::1"


@pytest.fixture
async def proxied(
    empty_redis: None, make_settings: Callable[..., Settings]
) -> AsyncIterator[Callable[[str], httpx.AsyncClient]]:
    """A throttled API behind a trusted proxy: clients of it, each at an address of its own."""
    async with AsyncExitStack() as stack:
        app = create_app(make_settings(rate_limit_enabled="true", trusted_proxies="127.0.0.0/8"))
        base = await stack.enter_async_context(serving(app))
        clients: dict[str, httpx.AsyncClient] = {}

        def at(address: str) -> httpx.AsyncClient:
            if address not in clients:
                clients[address] = httpx.AsyncClient(base_url=base, headers={"X-Forwarded-For": address})
                stack.push_async_callback(clients[address].aclose)
            return clients[address]

        yield at


Proxied = Callable[[str], httpx.AsyncClient]


async def guesses(api: httpx.AsyncClient, email: str, number: int) -> list[int]:
    return [(await log_in(api, email, WRONG)).status_code for _ in range(number)]


async def test_wrong_passwords_from_other_networks_do_not_lock_out_the_owner(proxied: Proxied) -> None:
    person = await People(proxied(HOME)).user()
    strange = [f"203.0.113.{number}" for number in range(1, 13)]
    answers = [(await guesses(proxied(address), person.email, 1))[0] for address in strange]
    assert answers == [401] * 10 + [429] * 2, "ten over all networks that never logged in"
    assert is_throttled(await log_in(proxied(CAFE), person.email, PASSWORD))
    assert (await log_in(proxied(HOME), person.email, PASSWORD)).status_code == 200
    assert (await guesses(proxied(HOME), person.email, 11)) == [401] * 10 + [429], "ten of its own"
    other = await People(proxied(HOME)).user()
    assert (await log_in(proxied(HOME), other.email, PASSWORD)).status_code == 200


async def test_each_known_network_has_its_own_limit(proxied: Proxied) -> None:
    person = await People(proxied(HOME)).user()
    assert (await log_in(proxied(ABROAD), person.email, PASSWORD)).status_code == 200
    assert await guesses(proxied(ABROAD), person.email, 11) == [401] * 10 + [429]
    assert await guesses(proxied("2001:db8:a::2"), person.email, 1) == [429], "of the same /64"
    assert await guesses(proxied(CAFE), person.email, 11) == [401] * 10 + [429]
    assert (await log_in(proxied(HOME), person.email, PASSWORD)).status_code == 200


async def test_network_is_known_for_ninety_days(proxied: Proxied, database: asyncpg.Connection) -> None:
    person = await People(proxied(HOME)).user()
    await guesses(proxied(CAFE), person.email, 10)
    await database.execute("UPDATE login_networks SET last_login_at = last_login_at - interval '89 days 23 hours'")
    assert (await log_in(proxied(HOME), person.email, WRONG)).status_code == 401
    await database.execute("UPDATE login_networks SET last_login_at = last_login_at - interval '2 hours'")
    assert is_throttled(await log_in(proxied(HOME), person.email, PASSWORD))


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


async def test_throttled_login_computes_no_hash(empty_redis: None, make_settings: Callable[..., Settings]) -> None:
    parts = container.build(make_settings(rate_limit_enabled="true"))
    hasher = CountingHasher(parts.use_cases.log_in.hasher)
    log_in = replace(parts.use_cases.log_in, hasher=hasher)
    for number in range(15):
        with pytest.raises(InvalidCredentials if number < 10 else TooManyRequests):
            await log_in(email="nobody@example.com", password=WRONG, address="203.0.113.1")
    assert hasher.verified == 10
    await parts.close()


async def test_known_networks_are_few_and_stored_without_address(
    proxied: Proxied, database: asyncpg.Connection
) -> None:
    person, other = await People(proxied(HOME)).user(), await People(proxied(HOME)).user()
    rows = await database.fetch("SELECT network FROM login_networks")
    assert len({bytes(row["network"]) for row in rows}) == 2, "the same network of two accounts"
    assert not any(HOME.encode() in row["network"] for row in rows)
    await database.execute(
        """INSERT INTO login_networks (user_id, network, last_login_at)
           SELECT $1, sha256(n::text::bytea), now() - n * interval '1 minute' FROM generate_series(1, 60) n""",
        person.id,
    )
    assert (await log_in(proxied(CAFE), person.email, PASSWORD)).status_code == 200
    kept = await database.fetch("SELECT last_login_at FROM login_networks WHERE user_id = $1", person.id)
    assert len(kept) == 50
    assert min(row["last_login_at"] for row in kept) > datetime.now(UTC) - timedelta(minutes=50)
    assert await database.fetchval("SELECT count(*) FROM login_networks WHERE user_id = $1", other.id) == 1


async def test_concurrent_guesses_over_two_processes_share_one_limit(
    empty_redis: None, make_settings: Callable[..., Settings]
) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=await stack.enter_async_context(
                        serving(create_app(make_settings(rate_limit_enabled="true")))
                    ),
                    timeout=60,
                )
            )
            for _ in range(2)
        ]
        person = await People(clients[0]).user()
        answers = await asyncio.gather(*(log_in(clients[n % 2], person.email, WRONG) for n in range(60)))
    assert sum(answer.status_code == 401 for answer in answers) == 10
    assert sum(is_throttled(answer) for answer in answers) == 50


async def test_without_redis_each_process_has_its_own_limit(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(rate_limit_enabled="true", redis_url="unix:///nowhere/redis.sock")
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as api:
        person: Person = await People(api).user()
        answers = [await log_in(api, person.email, WRONG) for _ in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        assert is_throttled(answers[-1])
        event = await (await People(api).facilitator()).creates_event()
        assert (await person.books(event["id"]))["status"] == "confirmed"
