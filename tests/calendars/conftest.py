"""Both providers, each with its real client code against a server of the tests."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from infrastructure.container import DeliveryParts, build_deliveries
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.calendars.calendar_harness import CalendarHarness, FakeCalendar
from tests.conftest import a_client
from tests.support.google_calendar import FakeGoogleCalendar
from tests.support.http import serving
from tests.support.load import many_users
from tests.support.outlook import FakeOutlook
from tests.support.people import Person
from tests.support.receivers import Receiver, receiving

PROVIDERS = ["google", "outlook"]


@pytest.fixture(scope="module", params=PROVIDERS)
def provider(request: Any) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
async def provider_server() -> AsyncIterator[Receiver]:
    """The address of the provider's server; `calendar` behaves for each test."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def calendar(provider: str, provider_server: Receiver) -> FakeCalendar:
    return _calendar(provider, provider_server)


@pytest.fixture(scope="module")
def other_calendar() -> dict[str, str]:
    """Settings of the other provider, where a module uses both."""
    return {}


@dataclass
class CalendarApp:
    """The API and a worker, for all tests of a module."""

    settings: Settings
    parts: DeliveryParts
    api: httpx.AsyncClient


@pytest.fixture(scope="module")
async def calendar_app(
    provider: str,
    provider_server: Receiver,
    other_calendar: dict[str, str],
    make_shared_settings: Callable[..., Settings],
) -> AsyncIterator[CalendarApp]:
    own = _calendar(provider, provider_server).settings
    settings = make_shared_settings(**(other_calendar | own), delivery_retry_schedule="0" + ",3600" * 9)
    parts = build_deliveries(settings)
    async with serving(create_app(settings)) as address, a_client(address) as api:
        yield CalendarApp(settings, parts, api)
    await parts.close()


@pytest.fixture
async def calendar_harness(
    provider: str, calendar: FakeCalendar, calendar_app: CalendarApp, emptied_database: asyncpg.Connection
) -> CalendarHarness:
    coach = await _person(calendar_app.api, emptied_database, "facilitator", "John Facilitator")
    client = await _person(calendar_app.api, emptied_database, "user", "Ada Lovelace")
    coach_uuid = str(await emptied_database.fetchval("SELECT uuid FROM users WHERE id = $1", coach.id))
    return CalendarHarness(
        provider, calendar, calendar_app.settings, calendar_app.parts, emptied_database, coach, client, coach_uuid
    )


def _calendar(provider: str, server: Receiver) -> FakeCalendar:
    """An empty calendar at that address."""
    calendar = FakeGoogleCalendar(server) if provider == "google" else FakeOutlook(server)
    server.requests.clear()
    server.behave = calendar.behave
    return calendar


async def _person(api: httpx.AsyncClient, database: asyncpg.Connection, role: str, name: str) -> Person:
    [member] = await many_users(database, 1, role=role)
    email = await database.fetchval("UPDATE users SET name = $2 WHERE id = $1 RETURNING email", member.id, name)
    return Person(api, member.id, name, email, member.token, "")
