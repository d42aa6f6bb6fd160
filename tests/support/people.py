"""People for tests: registered and logged in through the API, or written to the database as if they had been."""

import asyncio
import itertools
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from application.accounts.ports.accounts import AccessClaims
from domain.accounts import LoginId, UserId
from infrastructure.auth.jwt import JsonWebTokens
from infrastructure.auth.passwords import Argon2Passwords
from tests.support.machine_clock import SystemClock
from tests.support.settings import JWT_SECRET_KEY

PASSWORD = "password123"
_numbers = itertools.count(1)
_TOKENS = JsonWebTokens(JWT_SECRET_KEY, SystemClock(), access_for=timedelta(hours=1), refresh_for=timedelta(days=1))
_ADD = """WITH person AS (
        INSERT INTO users (email, name, role, password_hash) VALUES ($1, $2, $3, $4) RETURNING id
    ), profile AS (
        INSERT INTO facilitator_profiles (user_id) SELECT id FROM person WHERE $3 = 'facilitator'
    ), login AS (
        INSERT INTO logins (id, user_id, started_at, last_used_at, network, user_agent)
        SELECT $5, id, $6, $6, '127.0.0.1', $9 FROM person
    ), refresh AS (
        INSERT INTO refresh_tokens (fingerprint, login_id, expires_at) VALUES ($7, $5, $8)
    )
    SELECT id FROM person"""


@dataclass(frozen=True, slots=True)
class Person:
    """A user with an account; calls carry the access token."""

    api: httpx.AsyncClient
    id: int
    name: str
    email: str
    access_token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.api.get(path, headers=self.headers, **options)

    async def post(self, path: str, json: Any = None, *, key: str | None = None) -> httpx.Response:
        headers = self.headers if key is None else self.headers | {"Idempotency-Key": key}
        return await self.api.post(path, headers=headers, json=json)

    async def put(self, path: str, json: Any) -> httpx.Response:
        return await self.api.put(path, headers=self.headers, json=json)

    async def patch(self, path: str, json: Any) -> httpx.Response:
        return await self.api.patch(path, headers=self.headers, json=json)

    async def delete(self, path: str) -> httpx.Response:
        return await self.api.delete(path, headers=self.headers)

    async def creates_event(self, **changes: Any) -> dict[str, Any]:
        answer = await self.post("/events", json=event(**changes))
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()["event"]
        return created

    async def books(self, event_id: int) -> dict[str, Any]:
        answer = await self.post("/bookings", json={"event_id": event_id})
        assert answer.status_code == 201, answer.text
        booking: dict[str, Any] = answer.json()["booking"]
        return booking


class People:
    """`database`: that of the API, to which people are written, in a tenth of the time of two requests. Without it they
    register and log in, which also makes their network known."""

    def __init__(self, api: httpx.AsyncClient, database: asyncpg.Connection | None = None) -> None:
        self._api = api
        self._database = database
        self._turns = asyncio.Lock()

    async def user(self, name: str = "Ada Lovelace") -> Person:
        return await self._person(name, "user")

    async def facilitator(self, name: str = "John Facilitator") -> Person:
        return await self._person(name, "facilitator")

    async def _person(self, name: str, role: str) -> Person:
        email = f"person{next(_numbers)}@example.com"
        if self._database is not None:
            async with self._turns:
                return await self._written(self._database, email, name, role)
        answer = await self._api.post(
            "/auth/register", json={"email": email, "password": PASSWORD, "name": name, "role": role}
        )
        assert answer.status_code == 201, answer.text
        answer = await self._api.post("/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return Person(self._api, body["user"]["id"], name, email, body["access_token"], body["refresh_token"])

    async def _written(self, database: asyncpg.Connection, email: str, name: str, role: str) -> Person:
        now, login_id = datetime.now(UTC), LoginId(uuid.uuid4())
        refresh_token, expires_at = _TOKENS.issue_refresh(login_id, now)
        person_id = await database.fetchval(
            _ADD,
            email,
            name,
            role,
            await _password_hash(),
            login_id,
            now,
            _TOKENS.fingerprint(refresh_token),
            expires_at,
            self._api.headers["user-agent"],
        )
        access_token = _TOKENS.issue_access(AccessClaims(UserId(person_id), login_id, 1), now)
        return Person(self._api, person_id, name, email, access_token, refresh_token)


_hashes: dict[object, str] = {}


async def _password_hash() -> str:
    """Of the password of all people, once for each cost."""
    cost = Argon2Passwords.cost
    if cost not in _hashes:
        _hashes[cost] = await Argon2Passwords().hash(PASSWORD)
    return _hashes[cost]


def event(*, in_days: float = 7, hours: float = 1, **changes: Any) -> dict[str, Any]:
    """The body of contract B's example, some days ahead."""
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(days=in_days)
    body = {
        "title": "New Yoga Session",
        "description": "Advanced yoga session for experienced practitioners",
        "event_type": "session",
        "start_datetime": starts.isoformat(),
        "end_datetime": (starts + timedelta(hours=hours)).isoformat(),
        "location": "Studio B",
        "virtual_link": "https://meet.google.com/abc-defg-hij",
        "max_participants": 15,
        "price": 30.00,
        "currency": "INR",
    }
    return body | changes
