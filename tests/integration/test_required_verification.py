"""`EMAIL_VERIFICATION=required` over HTTP: each path refuses in the format of its contract."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from interfaces.http.app import create_app
from tests.conftest import a_client
from tests.support.appointments import free_hour, uuid_of, wanted
from tests.support.http import serving
from tests.support.people import People
from tests.support.settings import settings_for

MESSAGE = "Please confirm your e-mail address first, by the link in the mail"


@pytest.fixture(scope="module")
async def strict_api(
    shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_for(
        shared_database_url, redis_url, tmp_path_factory.mktemp("data"), email_verification="required"
    )
    async with serving(create_app(settings)) as address, a_client(address) as client:
        yield client


async def test_each_path_refuses_in_its_format(
    strict_api: httpx.AsyncClient, shared_database: asyncpg.Connection
) -> None:
    people = People(strict_api, shared_database)
    client, coach = await people.user(), await people.facilitator()
    event, uuid = (await coach.creates_event(price=0))["id"], await uuid_of(coach)
    series = wanted(uuid, free_hour()) | {"rrule": "FREQ=WEEKLY;COUNT=2"}
    requests: list[tuple[str, Any, dict[str, Any]]] = [
        ("/bookings", {"event_id": event}, {"error": MESSAGE, "code": "email_not_verified"}),
        ("/api/bookings", {"event_id": event}, {"error": "Forbidden", "message": MESSAGE}),
        ("/api/bookings", {"session_id": event}, {"message": MESSAGE}),
        ("/booking", wanted(uuid, free_hour()), {"detail": MESSAGE}),
        ("/booking/recurring", series, {"detail": MESSAGE}),
    ]
    for path, body, expected in requests:
        answer = await client.post(path, body)
        assert answer.status_code == 403, (path, answer.text)
        assert expected.items() <= answer.json().items(), (path, answer.text)

    await shared_database.execute("UPDATE users SET is_verified = true WHERE id = $1", client.id)
    booked = await client.post("/booking", wanted(uuid, free_hour()))
    assert booked.status_code == 201, booked.text
    await shared_database.execute("UPDATE users SET is_verified = false WHERE id = $1", client.id)
    begins = free_hour().strftime("%Y-%m-%dT%H:%M:%SZ")
    path, move = f"/booking/{booked.json()['id']}/reschedule", {"session_datetime": begins}
    assert (await client.post(path, move)).status_code == 403
    assert (await coach.post(path, move)).status_code == 200
