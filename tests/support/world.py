"""People with every role and what they have, and an application that answers them in this process, without sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from litestar.types import ASGIApp

from infrastructure import container
from infrastructure.settings import Settings
from interfaces.http.app import assemble
from interfaces.http.openapi.document import examples
from tests.support.appointments import books, free_hour
from tests.support.authorisation import Account, Caller, Rule
from tests.support.description_checks import Described
from tests.support.people import People, Person

NEITHER = b"[]"
"""A body that no operation accepts: callers that may call it get 400, and nothing changes."""


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
    """`database`: that of the API."""

    api: httpx.AsyncClient
    database: asyncpg.Connection
    people: dict[Account, Person]
    client_uuid: str = ""
    coach_uuid: str = ""
    callers: list[Caller] = field(default_factory=list)
    shared: dict[str, dict[str, str]] = field(default_factory=dict)

    async def event(self, **changes: Any) -> dict[str, str]:
        """An event of the facilitator that the client has booked, after all hours of appointments."""
        created = await self.people[Account.FACILITATOR].creates_event(in_days=300, **changes)
        booked = await self.people[Account.CLIENT].books(created["id"])
        return {"event_id": str(created["id"]), "session_id": str(created["id"]), "booking_id": str(booked["id"])}

    async def appointment(self) -> dict[str, str]:
        """One that is not paid yet, with a file of the client."""
        client = self.people[Account.CLIENT]
        await _opens_hours(self.database, self.people[Account.FACILITATOR].id)
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

    def kind_of(self, operation: Described) -> str:
        """The method that makes the parameters of a path."""
        if "{invitation_id}" in operation.path:
            return "invitation"
        return "appointment" if operation.path.startswith(("/booking/", "/coaches/", "/calendar/sync")) else "event"

    async def of(self, operation: Described, *, fresh: bool) -> dict[str, str]:
        """The parameters of a path."""
        kind = self.kind_of(operation)
        make: Callable[[], Coroutine[Any, Any, dict[str, str]]] = getattr(self, kind)
        if fresh:
            return await make()
        if kind not in self.shared:
            self.shared[kind] = await make() | await self.other()
        return self.shared[kind]


@contextlib.asynccontextmanager
async def populated(settings: Settings, database_url: str) -> AsyncIterator[World]:
    """`database_url`: of the database of the settings, without a pool between."""
    database = await asyncpg.connect(database_url)
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
        yield world
    await database.close()


async def _opens_hours(database: asyncpg.Connection, coach_id: int) -> None:
    """The coach can be booked at any time, free of charge, in spite of what a test has changed."""
    await database.execute(
        """INSERT INTO coaches (user_id, timezone, weekly_hours, date_overrides, buffer_before, buffer_after,
               minimum_notice, slot_step, price_per_hour, currency, refund_policy, updated_at)
           SELECT $1, 'UTC', jsonb_object_agg(day, '[[0, 1440]]'::jsonb), '{}', '0', '0', '0', '30 minutes', 0,
               'INR', '[]', now() FROM generate_series(0, 6) AS day
           ON CONFLICT (user_id) DO UPDATE SET weekly_hours = EXCLUDED.weekly_hours, date_overrides = '{}',
               buffer_before = '0', buffer_after = '0', minimum_notice = '0', slot_step = '30 minutes',
               price_per_hour = 0, timezone = 'UTC'""",
        coach_id,
    )


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    headers: dict[str, str]
    content: bytes | None = None
    files: dict[str, Any] | None = None

    def by(self, credential: str | None) -> "Call":
        return self if credential is None else replace(self, headers=self.headers | {"Authorization": credential})

    async def __call__(self, api: httpx.AsyncClient) -> httpx.Response:
        return await api.request(self.method, self.path, headers=self.headers, content=self.content, files=self.files)


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
