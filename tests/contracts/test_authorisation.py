"""The authorisation matrix: every operation of both API descriptions, called by every kind of caller.

The rules are in `tests/support/authorisation.py`. One application answers all calls in this process, without sockets.
An operation that changes something gets a resource of its own for each caller that it admits, so that no call depends
on another one.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from application.accounts.ports.accounts import AccessClaims
from crm.app import create_app as create_crm
from domain import bookings
from domain.accounts import LoginId, UserId
from domain.api_keys import ApiKey, Scope
from infrastructure.auth.jwt import JsonWebTokens
from interfaces.http import authentication
from tests.crm import parts as crm_parts
from tests.crm.description_checks import operations as crm_operations
from tests.support.authorisation import (
    BOOKING_API,
    CRM,
    OWNERS,
    Account,
    Caller,
    Outcome,
    expected,
    outcome,
    rules,
)
from tests.support.description_checks import named, operations
from tests.support.machine_clock import SystemClock
from tests.support.people import People, Person
from tests.support.settings import JWT_SECRET_KEY, settings_for
from tests.support.world import NEITHER, Call, World, a_call, answering, populated

RULES = rules(BOOKING_API)
RULES_OF_CRM = rules(CRM)

# The callers


async def a_key(person: Person, *scopes: Scope, **more: Any) -> str:
    answer = await person.post("/api-keys", json={"name": "matrix", "scopes": scopes, **more})
    assert answer.status_code == 201, answer.text
    key: str = answer.json()["key"]
    return key


async def every_caller(world: World, service_token: str) -> list[Caller]:
    people, database = world.people, world.database
    client, admin = people[Account.CLIENT], people[Account.ADMIN]
    now = datetime.now(UTC)
    past = JsonWebTokens(JWT_SECRET_KEY, SystemClock(), access_for=timedelta(hours=-1), refresh_for=timedelta(hours=1))
    forged = JsonWebTokens(
        "another key, of 32 bytes or more", SystemClock(), access_for=timedelta(hours=1), refresh_for=timedelta(1)
    )
    login = LoginId(await database.fetchval("SELECT id FROM logins WHERE user_id = $1", admin.id))
    claims = AccessClaims(UserId(admin.id), login, 1)
    gone, left, outdated, keyless = [
        await People(world.api, database).user(name) for name in ("Gone", "Left", "Old", "Key")
    ]
    of_gone = await a_key(keyless, Scope.PROFILE_READ)
    revoked, expired = [await a_key(keyless, Scope.PROFILE_READ) for _ in range(2)]
    listed = (await keyless.get("/api-keys")).json()["api_keys"]
    assert (await keyless.delete(f"/api-keys/{listed[1]['id']}")).status_code == 204
    await database.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", listed[0]["id"])
    await database.execute("UPDATE users SET is_active = false WHERE id = ANY($1)", [gone.id, keyless.id])
    await database.execute("UPDATE logins SET ended_at = now() WHERE user_id = $1", left.id)
    await database.execute("UPDATE users SET token_version = 2 WHERE id = $1", outdated.id)

    def bearer(name: str, sent: str, **more: Any) -> Caller:
        return Caller(name, f"Bearer {sent}", **more)

    of_client = frozenset(Scope) - {Scope.ADMIN_READ, Scope.ADMIN_WRITE}
    mistyped = await a_key(client, *of_client)
    return [
        Caller("anonymous", None),
        Caller("another scheme", f"Basic {client.access_token}"),
        Caller("no token", "Bearer "),
        bearer("nonsense", "nonsense"),
        bearer("expired token", past.issue_access(claims, now)),
        bearer("forged token", forged.issue_access(claims, now)),
        bearer("unsigned token", "eyJhbGciOiJub25lIn0." + admin.access_token.split(".")[1] + "."),
        bearer("refresh token", client.refresh_token, token="refresh token"),
        bearer("token of a deactivated account", gone.access_token),
        bearer("token of an ended login", left.access_token),
        bearer("token before a new password", outdated.access_token),
        bearer("service token", service_token, token="service token"),
        bearer("CRM token", crm_parts.TOKEN, token="CRM token"),
        *(bearer(account, person.access_token, account=account) for account, person in people.items()),
        bearer("client's key", await a_key(client, *of_client), account=Account.CLIENT, scopes=of_client),
        bearer(
            "facilitator's key",
            await a_key(people[Account.FACILITATOR], *of_client),
            account=Account.FACILITATOR,
            scopes=of_client,
        ),
        bearer("admin's key", await a_key(admin, *Scope), account=Account.ADMIN, scopes=frozenset(Scope)),
        *[
            bearer(f"admin's key {scope}", await a_key(admin, scope), account=Account.ADMIN, scopes=frozenset({scope}))
            for scope in Scope
        ],
        bearer("mistyped key", mistyped[:-1] + ("0" if mistyped[-1] != "0" else "1")),
        bearer("revoked key", revoked),
        bearer("expired key", expired),
        bearer("key of a deactivated account", of_gone),
    ]


@pytest.fixture(scope="module")
async def world(
    shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    limits = {"api_keys_per_account": "100", "unpaid_holds_per_account": "1000"}
    settings = settings_for(shared_database_url, redis_url, tmp_path_factory.mktemp("data"), **limits)
    async with populated(settings, shared_database_url) as world:
        world.callers = await every_caller(world, settings.backend_service_token)
        yield world


async def outcome_of(call: Call, api: httpx.AsyncClient) -> Outcome | str:
    answer = await call(api)
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    code = answer.json().get("code") if is_json and isinstance(answer.json(), dict) else None
    return outcome(answer.status_code, code)


async def mismatches(world: World, name: str) -> dict[str, str]:
    """The callers of an operation that are answered otherwise than by its rule."""
    operation, rule = named(name), RULES[name]
    changes = operation.method != "GET" and rule.is_about_an_owner
    wrong = {}
    for caller in world.callers:
        awaited = expected(rule, caller)
        parameters = await world.of(operation, fresh=changes and awaited is Outcome.OPEN) | await world.other()
        found = await outcome_of(a_call(operation, rule, parameters).by(caller.credential), world.api)
        if found != awaited:
            wrong[caller.name] = f"{found}, expected {awaited}"
    return wrong


@pytest.mark.parametrize("name", RULES)
async def test_operation_is_open_to_the_callers_of_its_rule(world: World, name: str) -> None:
    assert await mismatches(world, name) == {}


async def test_removed_guards_are_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: without the check of scopes, of roles, and of owners."""
    with monkeypatch.context() as patched:
        patched.setattr(ApiKey, "require", lambda *_: None)
        assert "admin's key events:write" in await mismatches(world, "getProfile")
        assert "admin's key" in await mismatches(world, "listApiKeys")
    with monkeypatch.context() as patched:
        patched.setattr(authentication, "is_admin", lambda _: True)
        assert {Account.CLIENT, Account.FACILITATOR} <= (await mismatches(world, "replayOutbox")).keys()
    with monkeypatch.context() as patched:
        patched.setattr(bookings, "require_owner", lambda *_, **__: None)
        assert Account.OTHER_CLIENT in await mismatches(world, "cancelBooking")


def test_every_operation_has_a_rule() -> None:
    assert RULES.keys() == {each.operation["operationId"] for each in operations()}
    assert RULES_OF_CRM.keys() == {each["operationId"] for each in crm_operations().values()}


def test_rules_have_the_scopes_of_the_description() -> None:
    """Two statements of the same decisions: that of the table, and that of the routes."""
    for name, rule in RULES.items():
        security = named(name).operation["security"]
        of_keys = [tuple(each["apiKey"]) for each in security if "apiKey" in each]
        if {} not in security:
            assert of_keys == ([rule.scopes] if rule.scopes else []), name


async def test_matrix_has_its_size(world: World) -> None:
    assert len({caller.name for caller in world.callers}) == len(world.callers) >= 20
    assert len(world.callers) * (len(RULES) + len(RULES_OF_CRM)) >= 2500
    for owners in OWNERS.values():
        assert owners < {caller.account for caller in world.callers}


@pytest.fixture
async def crm_answers(dsn: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = crm_parts.settings_for(dsn, CONVENE_DATA=str(tmp_path), CRM_WEBHOOK_SECRET="a-secret-of-the-webhook")
    async with answering(create_crm(settings)) as client:
        yield client


async def test_operations_of_the_crm_are_open_to_the_callers_of_their_rules(
    world: World, crm_answers: httpx.AsyncClient
) -> None:
    callers = [*world.callers, Caller("webhook token", "Bearer a-secret-of-the-webhook", token="webhook token")]
    wrong = {}
    for endpoint, operation in crm_operations().items():
        method, _, path = endpoint.partition(" ")
        rule = RULES_OF_CRM[operation["operationId"]]
        ids = {"facilitator_id": "1", "notification_id": str(uuid4()), "webhook_id": str(uuid4())}
        headers = {"Content-Type": "application/json"} if "requestBody" in operation else {}
        call = Call(method, path.format(**ids), headers, content=NEITHER if headers else None)
        for caller in callers:
            found, awaited = await outcome_of(call.by(caller.credential), crm_answers), expected(rule, caller)
            if found != awaited:
                wrong[f"{endpoint} by {caller.name}"] = f"{found}, expected {awaited}"
    assert wrong == {}
