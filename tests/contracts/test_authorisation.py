"""The authorisation matrix: every operation of both API descriptions, called by every kind of caller.

The rules are in `tests/support/authorisation.py`. One application answers all calls in this process, without sockets.
An operation that changes something gets a resource of its own for each caller that it admits, so that no call depends
on another one.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from litestar.types import ASGIApp

from application.accounts.ports.accounts import AccessClaims
from crm.app import create_app as create_crm
from domain import bookings
from domain.accounts import LoginId, UserId
from domain.api_keys import ApiKey, Scope
from infrastructure import container
from infrastructure.auth.jwt import JsonWebTokens
from interfaces.http import authentication
from interfaces.http.app import assemble
from interfaces.http.openapi.document import examples
from tests.crm import parts as crm_parts
from tests.crm.description_checks import operations as crm_operations
from tests.support.appointments import books, free_hour
from tests.support.authorisation import (
    BOOKING_API,
    CRM,
    OWNERS,
    Account,
    Caller,
    Outcome,
    Rule,
    expected,
    outcome,
    rules,
)
from tests.support.description_checks import Described, operations
from tests.support.machine_clock import SystemClock
from tests.support.people import People, Person
from tests.support.settings import JWT_SECRET_KEY, settings_for

RULES = rules(BOOKING_API)
RULES_OF_CRM = rules(CRM)
NEITHER = b"[]"
"""A body that no operation accepts: callers that may call it get 400, and nothing changes."""


def described(name: str) -> Described:
    return next(each for each in operations() if each.operation["operationId"] == name)


@contextlib.asynccontextmanager
async def answering(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose requests the application answers without sockets. It is started and stopped as by a server."""
    received: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    scope: Any = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    served: Any = app
    running: asyncio.Task[None] = asyncio.create_task(served(scope, received.get, sent.put))
    received.put_nowait({"type": "lifespan.startup"})
    assert (await sent.get())["type"] == "lifespan.startup.complete"
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        yield client
    received.put_nowait({"type": "lifespan.shutdown"})
    await running


@dataclass
class World:
    """The people of the matrix and what they have. `database`: that of the API."""

    api: httpx.AsyncClient
    database: asyncpg.Connection
    people: dict[Account, Person]
    client_uuid: str = ""
    coach_uuid: str = ""
    callers: list[Caller] = field(default_factory=list)
    shared: dict[str, dict[str, str]] = field(default_factory=dict)

    async def event(self) -> dict[str, str]:
        """An event of the facilitator that the client has booked."""
        created = await self.people[Account.FACILITATOR].creates_event()
        booked = await self.people[Account.CLIENT].books(created["id"])
        return {"event_id": str(created["id"]), "session_id": str(created["id"]), "booking_id": str(booked["id"])}

    async def appointment(self) -> dict[str, str]:
        """One that is not paid yet, with a file of the client."""
        client = self.people[Account.CLIENT]
        appointment = (await books(client, self.coach_uuid, free_hour()))["id"]
        attached = await self.api.post(
            f"/booking/{appointment}/attachments", headers=client.headers, files={"file": ("a.txt", b"a", "text/plain")}
        )
        assert attached.status_code == 201, attached.text
        return {
            "booking_id": appointment,
            "attachment_id": attached.json()["id"],
            "client_id": self.client_uuid,
            "coach_id": self.coach_uuid,
        }

    async def invitation(self) -> dict[str, str]:
        event = await self.event()
        guest = {"name": "Guest", "email": f"guest{event['event_id']}@example.com"}
        path = f"/facilitator/events/{event['event_id']}/bookings"
        invited = await self.people[Account.FACILITATOR].post(path, json=guest)
        assert invited.status_code == 202, invited.text
        return event | {"invitation_id": invited.json()["invitation"]["id"]}

    async def other(self) -> dict[str, str]:
        message = await self.database.fetchval("SELECT id FROM outbox ORDER BY seq LIMIT 1")
        unknown = dict.fromkeys(("key_id", "factor_id"), str(uuid4())) | {"user_id": "999999999", "feed": "unknown.ics"}
        return {"message_id": str(message), "provider": "google", **unknown}

    async def of(self, operation: Described, *, fresh: bool) -> dict[str, str]:
        """The parameters of a path."""
        kind = "appointment" if operation.path.startswith(("/booking/", "/coaches/", "/calendar/sync")) else "event"
        if "{invitation_id}" in operation.path:
            kind = "invitation"
        make: Callable[[], Coroutine[Any, Any, dict[str, str]]] = getattr(self, kind)
        if fresh:
            return await make()
        if kind not in self.shared:
            self.shared[kind] = await make() | await self.other()
        return self.shared[kind]


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
    database = await asyncpg.connect(shared_database_url)
    async with answering(assemble(container.build(settings))) as api:
        register = People(api, database)
        people = {
            Account.CLIENT: await register.user(),
            Account.OTHER_CLIENT: await register.user("Eve"),
            Account.FACILITATOR: await register.facilitator(),
            Account.OTHER_FACILITATOR: await register.facilitator("Mary"),
            Account.ADMIN: await register.facilitator("Root"),
            Account.ADMIN_WITHOUT_PROFILE: await register.user("Toor"),
        }
        admins = [people[account].id for account in (Account.ADMIN, Account.ADMIN_WITHOUT_PROFILE)]
        await database.execute("UPDATE users SET role = 'admin' WHERE id = ANY($1)", admins)
        uuids = {row["id"]: row["uuid"] for row in await database.fetch("SELECT id, uuid::text FROM users")}
        world = World(api, database, people)
        world.client_uuid = uuids[people[Account.CLIENT].id]
        world.coach_uuid = uuids[people[Account.FACILITATOR].id]
        await _opens_hours(database, people[Account.FACILITATOR].id)
        world.callers = await every_caller(world, settings.backend_service_token)
        yield world
    await database.close()


async def _opens_hours(database: asyncpg.Connection, coach_id: int) -> None:
    """The coach can be booked at any time, free of charge."""
    await database.execute(
        """INSERT INTO coaches (user_id, timezone, weekly_hours, date_overrides, buffer_before, buffer_after,
               minimum_notice, slot_step, price_per_hour, currency, refund_policy, updated_at)
           SELECT $1, 'UTC', jsonb_object_agg(day, '[[0, 1440]]'::jsonb), '{}', '0', '0', '0', '30 minutes', 0,
               'INR', '[]', now() FROM generate_series(0, 6) AS day""",
        coach_id,
    )


# A call


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    headers: dict[str, str]
    content: bytes | None = None
    files: dict[str, Any] | None = None

    def by(self, caller: Caller) -> "Call":
        return (
            self
            if caller.credential is None
            else replace(self, headers=self.headers | {"Authorization": caller.credential})
        )

    async def __call__(self, api: httpx.AsyncClient) -> Outcome | str:
        answer = await api.request(self.method, self.path, headers=self.headers, content=self.content, files=self.files)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        code = answer.json().get("code") if is_json and isinstance(answer.json(), dict) else None
        return outcome(answer.status_code, code)


def a_call(operation: Described, rule: Rule, parameters: dict[str, str]) -> Call:
    path = operation.path.format(**parameters)
    if "requestBody" not in operation.operation:
        # A stream has no end: a wrong header is noticed before it begins.
        return Call(operation.method, path, {"Last-Event-ID": "wrong"})
    if operation.takes_files:
        return Call(operation.method, path, {}, files={"file": ("a.txt", b"a", "text/plain")})
    body = NEITHER
    if rule.is_about_an_owner:
        recorded: dict[str, Any] = next(
            iter(examples()[operation.operation["operationId"]].get("bodies", {}).values()), {}
        )
        shared = {name: value for name, value in parameters.items() if name in recorded}
        body = json.dumps(recorded | shared).encode()
    return Call(operation.method, path, {"Content-Type": "application/json"}, content=body)


async def mismatches(world: World, name: str) -> dict[str, str]:
    """The callers of an operation that are answered otherwise than by its rule."""
    operation, rule = described(name), RULES[name]
    changes = operation.method != "GET" and rule.is_about_an_owner
    wrong = {}
    for caller in world.callers:
        awaited = expected(rule, caller)
        parameters = await world.of(operation, fresh=changes and awaited is Outcome.OPEN) | await world.other()
        found = await a_call(operation, rule, parameters).by(caller)(world.api)
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
        security = described(name).operation["security"]
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
            found, awaited = await call.by(caller)(crm_answers), expected(rule, caller)
            if found != awaited:
                wrong[f"{endpoint} by {caller.name}"] = f"{found}, expected {awaited}"
    assert wrong == {}
