"""People for tests: registered and logged in through the API, as its clients do it."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

PASSWORD = "password123"
_numbers = itertools.count(1)


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
    def __init__(self, api: httpx.AsyncClient) -> None:
        self._api = api

    async def user(self, name: str = "Ada Lovelace") -> Person:
        return await self._person(name, "user")

    async def facilitator(self, name: str = "John Facilitator") -> Person:
        return await self._person(name, "facilitator")

    async def _person(self, name: str, role: str) -> Person:
        email = f"person{next(_numbers)}@example.com"
        answer = await self._api.post(
            "/auth/register", json={"email": email, "password": PASSWORD, "name": name, "role": role}
        )
        assert answer.status_code == 201, answer.text
        answer = await self._api.post("/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return Person(self._api, body["user"]["id"], name, email, body["access_token"], body["refresh_token"])


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
