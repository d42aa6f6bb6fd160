"""Accepted tokens, and events that end a login from the next request on."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import jwt
import pytest

from domain.accounts import Role
from infrastructure import container
from infrastructure.container.administration import Administration
from infrastructure.settings import Settings
from tests.support.people import PASSWORD, People, Person
from tests.support.settings import JWT_SECRET_KEY

Claims = dict[str, Any]
KEY = JWT_SECRET_KEY.encode()
HS256 = {"alg": "HS256", "typ": "JWT"}


COMPACT, SPACED = (",", ":"), (", ", ": ")
"""Separators in JSON: of the product's tokens, and of another library's."""


def a_token(
    claims: Claims,
    *,
    header: dict[str, Any] = HS256,
    key: bytes = KEY,
    digest: str = "sha256",
    separators: tuple[str, str] = COMPACT,
) -> str:
    """Made by hand, since no library makes most of what an attacker would."""
    texts = (json.dumps(part, separators=separators).encode() for part in (header, claims))
    signed = b".".join(base64.urlsafe_b64encode(text).rstrip(b"=") for text in texts)
    signature = base64.urlsafe_b64encode(hmac.digest(key, signed, digest)).rstrip(b"=")
    return (signed + b"." + signature).decode()


def without(claims: Claims, name: str) -> Claims:
    return {other: value for other, value in claims.items() if other != name}


NOW = int(time.time())
FORGERIES: dict[str, Callable[[Claims], str]] = {
    "alg none": lambda claims: a_token(claims, header={"alg": "none", "typ": "JWT"}),
    "alg none, no signature": lambda claims: a_token(claims, header={"alg": "none"}).rpartition(".")[0] + ".",
    "alg NONE": lambda claims: a_token(claims, header={"alg": "NONE"}).rpartition(".")[0] + ".",
    "no alg": lambda claims: a_token(claims, header={"typ": "JWT"}),
    "HS384": lambda claims: a_token(claims, header={"alg": "HS384"}, digest="sha384"),
    "HS512": lambda claims: a_token(claims, header={"alg": "HS512"}, digest="sha512"),
    "RS256": lambda claims: a_token(claims, header={"alg": "RS256"}),
    "another key": lambda claims: a_token(claims, key=b"x" * 32),
    "the empty key": lambda claims: a_token(claims, key=b""),
    "a published key": lambda claims: a_token(claims, key=b"your-secret-key-change-in-production"),
    "unknown crit": lambda claims: a_token(claims, header=HS256 | {"crit": ["unheard-of"], "unheard-of": True}),
    "no signature": lambda claims: a_token(claims).rpartition(".")[0] + ".",
    "two parts": lambda claims: a_token(claims).rpartition(".")[0],
    "four parts": lambda claims: a_token(claims) + ".x",
    "truncated": lambda claims: a_token(claims)[:-2],
    "changed payload": lambda claims: _with_payload_of(a_token(claims), a_token(claims | {"sub": "4096"})),
    "no exp": lambda claims: a_token(without(claims, "exp")),
    "expired": lambda claims: a_token(claims | {"exp": NOW - 60}),
    "exp as text": lambda claims: a_token(claims | {"exp": "tomorrow"}),
    "exp null": lambda claims: a_token(claims | {"exp": None}),
    "iat in the future": lambda claims: a_token(claims | {"iat": NOW + 3600}),
    "no iat": lambda claims: a_token(without(claims, "iat")),
    "nbf in the future": lambda claims: a_token(claims | {"nbf": NOW + 3600}),
    "another issuer": lambda claims: a_token(claims | {"iss": "evil"}),
    "no issuer": lambda claims: a_token(without(claims, "iss")),
    "another audience": lambda claims: a_token(claims | {"aud": "convene-refresh"}),
    "no audience": lambda claims: a_token(without(claims, "aud")),
    "refresh by type": lambda claims: a_token(claims | {"typ": "refresh"}),
    "no type": lambda claims: a_token(without(claims, "typ")),
    "no sub": lambda claims: a_token(without(claims, "sub")),
    "sub as number": lambda claims: a_token(claims | {"sub": int(claims["sub"])}),
    "sub 0": lambda claims: a_token(claims | {"sub": "0"}),
    "sub 2^63": lambda claims: a_token(claims | {"sub": str(2**63)}),
    "sub of nobody": lambda claims: a_token(claims | {"sub": str(2**62)}),
    "sub no number": lambda claims: a_token(claims | {"sub": "1 OR 1=1"}),
    "no sid": lambda claims: a_token(without(claims, "sid")),
    "sid of no login": lambda claims: a_token(claims | {"sid": str(uuid4())}),
    "sid no UUID": lambda claims: a_token(claims | {"sid": "x"}),
    "sid a list": lambda claims: a_token(claims | {"sid": []}),
    "no ver": lambda claims: a_token(without(claims, "ver")),
    "ver before": lambda claims: a_token(claims | {"ver": claims["ver"] - 1}),
    "ver after": lambda claims: a_token(claims | {"ver": claims["ver"] + 1}),
    "ver as text": lambda claims: a_token(claims | {"ver": str(claims["ver"])}),
    "no object": lambda claims: a_token([claims]),  # type: ignore[arg-type]
    "a header 7,000 deep": lambda claims: base64.urlsafe_b64encode(b"[" * 7000).decode() + ".e30.x",
    "no token": lambda claims: "nonsense",
}


def _with_payload_of(token: str, other: str) -> str:
    header, _, signature = token.split(".")
    return ".".join((header, other.split(".")[1], signature))


@pytest.fixture(scope="module")
def claims(ada: Person) -> Claims:
    """What a real access token of hers says."""
    found: Claims = jwt.decode(ada.access_token, options={"verify_signature": False})
    return found


async def profile(api: httpx.AsyncClient, token: str) -> httpx.Response:
    return await api.get("/profile", headers={"Authorization": f"Bearer {token}"})


async def refresh(api: httpx.AsyncClient, token: str) -> httpx.Response:
    return await api.post("/auth/refresh", headers={"Authorization": f"Bearer {token}"})


async def test_valid_token_is_accepted(shared_api: httpx.AsyncClient, claims: Claims, ada: Person) -> None:
    """What makes the refusals below mean something. A token of the product's own form takes a shorter way."""
    assert a_token(claims).partition(".")[0] == ada.access_token.partition(".")[0]
    assert (await profile(shared_api, a_token(claims, separators=SPACED))).status_code == 200
    assert (await profile(shared_api, a_token(claims))).status_code == 200
    assert (await profile(shared_api, a_token(claims | {"unheard_of": 1}))).status_code == 200


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forged_token_is_rejected(shared_api: httpx.AsyncClient, claims: Claims, forgery: str) -> None:
    token = FORGERIES[forgery](claims)
    for answer in (await profile(shared_api, token), await refresh(shared_api, token)):
        assert answer.status_code == 401
        assert answer.json()["error"] == "Invalid or expired token"
        assert answer.json()["code"] == "invalid_token"
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_access_and_refresh_tokens_are_not_interchangeable(shared_api: httpx.AsyncClient, ada: Person) -> None:
    assert (await profile(shared_api, ada.refresh_token)).status_code == 401
    assert (await refresh(shared_api, ada.access_token)).status_code == 401


@pytest.mark.parametrize("scheme", ["Basic", "Token", "JWT", ""])
async def test_other_authorization_scheme_is_rejected(shared_api: httpx.AsyncClient, ada: Person, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {ada.access_token}".strip()}
    assert (await shared_api.get("/profile", headers=headers)).status_code == 401


async def test_scheme_is_case_insensitive(shared_api: httpx.AsyncClient, ada: Person) -> None:
    headers = {"Authorization": f"bEaReR  {ada.access_token}"}
    assert (await shared_api.get("/profile", headers=headers)).status_code == 200


# What ends a login


@pytest.fixture
async def administration(
    make_settings: Callable[..., Settings], shared_database_url: str
) -> AsyncIterator[Administration]:
    """As an operator's command has them, on the database of the shared API."""
    parts = container.build(make_settings(database_url=shared_database_url))
    yield parts.administration
    await parts.close()


async def log_in(api: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await api.post("/auth/login", json={"email": email, "password": password})


async def is_out(api: httpx.AsyncClient, tokens: dict[str, Any]) -> bool:
    """Neither token works. The refresh token is used up where it does."""
    return {
        (await profile(api, tokens["access_token"])).status_code,
        (await refresh(api, tokens["refresh_token"])).status_code,
    } == {401}


async def test_logout_everywhere_ends_every_login(shared_api: httpx.AsyncClient, shared_people: People) -> None:
    person = await shared_people.user()
    logins = [(await log_in(shared_api, person.email)).json() for _ in range(3)]
    assert (await person.post("/auth/logout", json={"everywhere": True})).status_code == 200
    assert all([await is_out(shared_api, tokens) for tokens in logins])
    assert (await person.get("/profile")).status_code == 401
    assert (await log_in(shared_api, person.email)).status_code == 200


async def test_admin_manages_all_events_and_bookings(
    shared_api: httpx.AsyncClient, shared_people: People, john: Person, ada: Person, administration: Administration
) -> None:
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    member = await shared_people.user()
    assert await administration.grant_role(member.email, role=Role.ADMIN)
    tokens = (await log_in(shared_api, member.email)).json()
    admin = Person(shared_api, member.id, member.name, member.email, tokens["access_token"], "")
    assert (await admin.get(f"/bookings/{booking['id']}")).status_code == 200
    assert (await admin.get(f"/facilitator/events/{event['id']}/bookings")).status_code == 200
    assert (await admin.post(f"/bookings/{booking['id']}/cancel")).status_code == 200
    assert (await admin.put(f"/events/{event['id']}", {"title": "Moderated"})).status_code == 200
    assert (await admin.post(f"/facilitator/events/{event['id']}/cancel")).status_code == 200


# Races


async def test_fifty_concurrent_refreshes_with_one_token_return_one_new_token(
    shared_api: httpx.AsyncClient, shared_people: People
) -> None:
    person = await shared_people.user()
    answers = await asyncio.gather(*(refresh(shared_api, person.refresh_token) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 49
    successor = next(answer.json() for answer in answers if answer.status_code == 200)
    assert await is_out(shared_api, successor)


async def waiting_for_a_lock(database: asyncpg.Connection) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while not await database.fetchval(query):  # noqa: ASYNC110 (a lock of another process is no event here)
            await asyncio.sleep(0.01)


async def test_profile_change_does_not_undo_a_role_change(
    shared_people: People, shared_database: asyncpg.Connection, shared_database_url: str
) -> None:
    person = await shared_people.facilitator()
    watching = await asyncpg.connect(shared_database_url)
    async with shared_database.transaction():
        await shared_database.execute(
            "UPDATE users SET role = 'user', token_version = token_version + 1 WHERE id = $1", person.id
        )
        change = asyncio.create_task(person.put("/profile", {"name": "Changed Meanwhile"}))
        await waiting_for_a_lock(watching)
    await watching.close()
    assert (await change).status_code == 200
    row = await shared_database.fetchrow("SELECT name, role, token_version FROM users WHERE id = $1", person.id)
    assert row is not None
    assert tuple(row) == ("Changed Meanwhile", "user", 2)


async def test_login_with_a_password_changed_meanwhile_fails(
    shared_api: httpx.AsyncClient,
    shared_people: People,
    shared_database: asyncpg.Connection,
    shared_database_url: str,
) -> None:
    person = await shared_people.user()
    watching = await asyncpg.connect(shared_database_url)
    async with shared_database.transaction():
        await shared_database.execute("UPDATE users SET password_hash = 'another' WHERE id = $1", person.id)
        attempt = asyncio.create_task(log_in(shared_api, person.email))
        await waiting_for_a_lock(watching)
    await watching.close()
    assert (await attempt).status_code == 401


async def test_tokens_are_stored_as_digests_only(shared_people: People, shared_database: asyncpg.Connection) -> None:
    person = await shared_people.user()
    stored = await shared_database.fetch("SELECT fingerprint FROM refresh_tokens")
    assert hashlib.sha256(person.refresh_token.encode()).digest() in {row["fingerprint"] for row in stored}
    kept = await shared_database.fetchval("SELECT password_hash FROM users WHERE id = $1", person.id)
    assert kept.startswith("$argon2id$")
