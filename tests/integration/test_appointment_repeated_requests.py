"""The same request about a session again, with its idempotency key."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.conftest import a_client
from tests.support.appointments import a_price_for, at, uuid_of, wanted
from tests.support.http import serving
from tests.support.people import People, Person


@pytest.fixture
async def api(make_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    """With payments at the sandbox."""
    async with serving(create_app(make_settings(payment_provider="sandbox"))) as address, a_client(address) as client:
        yield client


@pytest.fixture
async def coach(people: People, database_url: str) -> str:
    host = await uuid_of(await people.facilitator())
    await a_price_for(database_url, host)
    return host


async def post_with_key(person: Person, path: str, body: dict[str, Any], key: str) -> httpx.Response:
    return await person.api.post(path, json=body, headers=person.headers | {"Idempotency-Key": key})


async def test_concurrent_requests_with_one_key_make_one_appointment(
    people: People, coach: str, database: asyncpg.Connection
) -> None:
    guest, key = await people.user(), str(uuid4())
    answers = await asyncio.gather(*(post_with_key(guest, "/booking", wanted(coach, at(10)), key) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert await database.fetchval("SELECT count(*) FROM coaching_bookings") == 1
