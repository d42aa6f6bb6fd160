"""The limit of unpaid bookings over HTTP: in the shape of each contract, by settings, and with concurrent requests."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.conftest import a_client
from tests.support.appointments import a_price_for, at, wanted
from tests.support.http import serving
from tests.support.load import Member, many_users, some_events

CODE = "too_many_unpaid_holds"
IN_ALL = "You have 5 unpaid bookings. Please pay or cancel one of them before you book another"


@dataclass
class HoldsHarness:
    """An API that takes payments in its sandbox."""

    api: httpx.AsyncClient
    database: asyncpg.Connection
    database_url: str

    async def events(self, number: int, *, price: int = 30) -> list[int]:
        [facilitator] = await many_users(self.database, 1, role="facilitator")
        return await some_events(self.database, facilitator.id, number, capacity=10, price=price)

    async def client(self) -> Member:
        return (await many_users(self.database, 1))[0]

    async def coach(self, price: int = 1500) -> str:
        [coach] = await many_users(self.database, 1, role="facilitator")
        uuid = str(await self.database.fetchval("SELECT uuid FROM users WHERE id = $1", coach.id))
        await a_price_for(self.database_url, uuid, price)
        return uuid

    async def post(self, by: Member, path: str, body: Any = None) -> httpx.Response:
        return await self.api.post(path, json=body, headers=by.headers)

    async def book(self, by: Member, event_id: int) -> httpx.Response:
        return await self.post(by, "/bookings", {"event_id": event_id})

    async def books(self, by: Member, events: list[int]) -> list[httpx.Response]:
        answers = [await self.book(by, event_id) for event_id in events]
        assert [answer.status_code for answer in answers] == [201] * len(events)
        return answers

    async def booked(self, events: list[int]) -> int:
        booked: int = await self.database.fetchval("SELECT sum(booked) FROM events WHERE id = ANY($1)", events)
        return booked

    async def session(self, by: Member, coach: str, hour: int) -> httpx.Response:
        return await self.post(by, "/booking", wanted(coach, at(hour)))


@asynccontextmanager
async def opened(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[HoldsHarness]:
    async with serving(create_app(settings)) as address, a_client(address) as client:
        yield HoldsHarness(client, database, settings.database_url)


@pytest.fixture(scope="module")
async def harness(
    make_shared_settings: Callable[..., Settings], shared_database: asyncpg.Connection
) -> AsyncIterator[HoldsHarness]:
    async with opened(make_shared_settings(payment_provider="sandbox"), shared_database) as harness:
        yield harness


async def test_sixth_unpaid_seat_is_rejected_in_each_shape_until_one_is_released(harness: HoldsHarness) -> None:
    client, events = await harness.client(), await harness.events(7)
    [first, *_] = await harness.books(client, events[:5])

    refused = await harness.book(client, events[5])
    assert (refused.status_code, refused.json()["error"], refused.json()["code"]) == (400, IN_ALL, CODE)
    of_a = (await harness.post(client, "/api/bookings", {"event_id": events[5]})).json()
    assert (of_a["error"], of_a["message"], of_a["code"]) == ("Bad Request", IN_ALL, CODE)
    of_c = await harness.post(client, "/api/bookings", {"session_id": events[5]})
    assert (of_c.status_code, of_c.json()["error"], of_c.json()["code"]) == (400, IN_ALL, CODE)
    coach = await harness.coach()
    of_e = await harness.session(client, coach, 9)
    assert (of_e.status_code, of_e.json()["detail"], of_e.json()["code"]) == (400, IN_ALL, CODE)
    assert await harness.booked(events) == 5

    await harness.post(client, f"/bookings/{first.json()['booking']['id']}/cancel")
    await harness.books(client, [events[5]])
    assert (await harness.book(client, events[6])).json()["code"] == CODE


async def test_limits_are_settings(
    make_shared_settings: Callable[..., Settings], shared_database: asyncpg.Connection
) -> None:
    limits = {"unpaid_holds_per_account": "3", "unpaid_holds_per_coach": "1"}
    async with opened(make_shared_settings(payment_provider="sandbox", **limits), shared_database) as harness:
        client, coach, events = await harness.client(), await harness.coach(), await harness.events(3)
        assert (await harness.session(client, coach, 9)).status_code == 201
        assert (await harness.session(client, coach, 10)).json()["code"] == CODE
        await harness.books(client, events[:2])
        assert (await harness.book(client, events[2])).json()["code"] == CODE


async def test_of_many_concurrent_bookings_five_seats_are_held(harness: HoldsHarness) -> None:
    client, events = await harness.client(), await harness.events(20)
    answers = await asyncio.gather(*(harness.book(client, event_id) for event_id in events))
    assert Counter((answer.status_code, answer.json().get("code")) for answer in answers) == {
        (201, None): 5,
        (400, CODE): 15,
    }


async def test_concurrent_seats_and_appointments_are_counted_together(harness: HoldsHarness) -> None:
    client, events = await harness.client(), await harness.events(8)
    coaches = [await harness.coach() for _ in range(4)]
    asked = [harness.book(client, event_id) for event_id in events]
    asked += [harness.session(client, coach, hour) for coach in coaches for hour in (9, 10, 11)]
    answers = await asyncio.gather(*asked)
    assert Counter(answer.status_code for answer in answers) == {201: 5, 400: 15}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 400} == {CODE}
    most = await harness.database.fetchval(
        "SELECT max(n) FROM (SELECT count(*) n FROM coaching_bookings GROUP BY coach_id)"
    )
    assert (most or 0) <= 2
