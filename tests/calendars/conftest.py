"""Both providers, each with its real client code against a server of the tests."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from infrastructure.container import build_deliveries
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.calendars.calendar_harness import CalendarHarness, FakeCalendar
from tests.conftest import a_client
from tests.support.google_calendar import fake_google_calendar
from tests.support.http import serving
from tests.support.load import many_users
from tests.support.outlook import fake_outlook
from tests.support.people import Person

PROVIDERS = ["google", "outlook"]


@pytest.fixture(params=PROVIDERS)
def provider(request: Any) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def calendar(provider: str) -> AsyncIterator[FakeCalendar]:
    async with fake_google_calendar() if provider == "google" else fake_outlook() as calendar:
        yield calendar


@pytest.fixture
def other_calendar() -> dict[str, str]:
    """Settings of the other provider, where a test uses both."""
    return {}


@pytest.fixture
async def calendar_harness(
    provider: str,
    calendar: FakeCalendar,
    other_calendar: dict[str, str],
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
) -> AsyncIterator[CalendarHarness]:
    settings = make_settings(
        **(other_calendar | calendar.settings),
        delivery_retry_schedule="0" + ",3600" * 9,
    )
    parts = build_deliveries(settings)
    async with serving(create_app(settings)) as address, a_client(address) as api:
        coach = await _person(api, database, "facilitator", "John Facilitator")
        client = await _person(api, database, "user", "Ada Lovelace")
        coach_uuid = str(await database.fetchval("SELECT uuid FROM users WHERE id = $1", coach.id))
        yield CalendarHarness(provider, calendar, settings, parts, database, coach, client, coach_uuid)
    await parts.close()


async def _person(api: httpx.AsyncClient, database: asyncpg.Connection, role: str, name: str) -> Person:
    [member] = await many_users(database, 1, role=role)
    email = await database.fetchval("UPDATE users SET name = $2 WHERE id = $1 RETURNING email", member.id, name)
    return Person(api, member.id, name, email, member.token, "")
