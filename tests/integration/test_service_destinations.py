"""NOTIFICATION_SERVICE_URL and EMAIL_SERVICE_URL: from a request to the API to the services that are notified."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from domain.outbox import ALWAYS_SERVED, Destination
from infrastructure import container
from infrastructure.settings import Settings, SettingsError
from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.messages import deliver_due
from tests.support.people import People
from tests.support.receivers import Receiver, Request, answer, receiving

TOKEN = "a-service-token-of-the-tests"
MakeSettings = Callable[..., Settings]


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def notifications() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def email() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


PAYMENTS_DONE = ("payments", "delivered")


async def a_busy_day(settings: Settings, database: asyncpg.Connection) -> tuple[int, int]:
    """One booking made, paid and cancelled, another cancelled with its event; the ids of both."""
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as api:
        people = People(api, database)
        john, ada, bob = await people.facilitator(), await people.user("Ada"), await people.user("Bob")
        event = await john.creates_event(price=25)
        first = await ada.books(event["id"])
        report = {"booking_id": first["id"], "user_id": ada.id, "event_id": event["id"]}
        answer = await api.post("/service/offline-payments", json=report, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        second = await bob.books(event["id"])
        assert (await john.put(f"/events/{event['id']}", {"location": "Garden"})).is_success
        assert (await ada.post(f"/bookings/{first['id']}/cancel")).is_success
        assert (await john.post(f"/facilitator/cancel/{event['id']}")).is_success
        return first["id"], second["id"]


async def deliver(settings: Settings) -> None:
    """Runs a worker until nothing is pending: a completed refund enqueues messages of its own."""
    parts = container.build_deliveries(settings)
    try:
        for destination in [*parts.deliver_due.senders, *parts.deliver_due.senders]:
            await deliver_due(parts.deliver_due, destination)
    finally:
        await parts.close()


async def left(database: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await database.fetch("SELECT DISTINCT destination, status FROM outbox ORDER BY destination, status")
    return [(row["destination"], row["status"]) for row in rows]


async def test_notification_service_gets_bookings_payments_and_cancellations(
    make_settings: MakeSettings, database: asyncpg.Connection, crm: Receiver, notifications: Receiver
) -> None:
    settings = make_settings(crm_service_url=crm.url, notification_service_url=notifications.url)
    first, second = await a_busy_day(settings, database)
    await deliver(settings)

    def types(booking_id: int | None) -> list[str]:
        return [each.json["type"] for each in notifications.requests if each.json["booking_id"] == booking_id]

    assert types(first) == ["booking_created", "payment_completed", "booking_cancelled"]
    assert types(second) == ["booking_created", "booking_cancelled"]
    assert types(None) == ["event_cancelled"]
    assert {request.path for request in notifications.requests} == {"/notify"}
    assert {request.headers["authorization"] for request in notifications.requests} == {f"Bearer {TOKEN}"}
    assert {request.headers["authorization"] for request in crm.requests} == {"Bearer a token of the tests"}
    assert not {request.message_id for request in crm.requests} & {each.message_id for each in notifications.requests}
    assert await left(database) == [
        ("crm", "delivered"),
        ("email", "delivered"),
        ("notification", "delivered"),
        PAYMENTS_DONE,
        ("realtime", "delivered"),
    ]


async def test_without_a_notification_service_no_message_is_enqueued_for_it(
    make_settings: MakeSettings, database: asyncpg.Connection
) -> None:
    await a_busy_day(make_settings(), database)
    assert await left(database) == [
        ("crm", "pending"),
        ("email", "pending"),
        ("payments", "pending"),
        ("realtime", "pending"),
    ]


async def test_unavailable_notification_service_blocks_no_other(
    make_settings: MakeSettings, database: asyncpg.Connection, crm: Receiver, notifications: Receiver
) -> None:
    notifications.always(answer(503))
    settings = make_settings(crm_service_url=crm.url, notification_service_url=notifications.url)
    await a_busy_day(settings, database)
    await deliver(settings)
    assert await left(database) == [
        ("crm", "delivered"),
        ("email", "delivered"),
        ("notification", "pending"),
        PAYMENTS_DONE,
        ("realtime", "delivered"),
    ]

    notifications.always(answer(200))
    await database.execute("UPDATE outbox SET due_at = now()")
    await deliver(settings)
    assert ("notification", "delivered") in await left(database)
    assert ("notification", "pending") not in await left(database)


async def test_mails_go_to_the_email_service_instead_of_the_mail_server(
    make_settings: MakeSettings, database: asyncpg.Connection, crm: Receiver, email: Receiver, tmp_path: Path
) -> None:
    settings = make_settings(
        crm_service_url=crm.url, email_service_url=f"{email.url}/outgoing", smtp_url="smtp://127.0.0.1:1"
    )
    await a_busy_day(settings, database)
    await deliver(settings)
    assert {request.path for request in email.requests} == {"/outgoing"}
    assert {request.headers["authorization"] for request in email.requests} == {f"Bearer {TOKEN}"}
    subjects = sorted(request.json["subject"].partition(":")[0] for request in email.requests)
    once = ["Booking cancelled", "Cancelled", "Receipt", "Refund"]
    assert subjects == sorted([*once, "New place", "New place", "You are booked", "You are booked"])
    assert await left(database) == [
        ("crm", "delivered"),
        ("email", "delivered"),
        PAYMENTS_DONE,
        ("realtime", "delivered"),
    ]
    assert not (tmp_path / "mail").exists()


async def test_mail_without_a_confirmation_is_sent_again_unchanged(
    make_settings: MakeSettings, database: asyncpg.Connection, crm: Receiver, email: Receiver
) -> None:
    async def hang_up_at_first(_request: Request, _writer: asyncio.StreamWriter) -> bytes | None:
        return None if len(email.requests) == 1 else answer()

    email.behave = hang_up_at_first
    settings = make_settings(crm_service_url=crm.url, email_service_url=email.url, delivery_retry_schedule="0,0")
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as api:
        people = People(api, database)
        event = await (await people.facilitator()).creates_event()
        await (await people.user()).books(event["id"])
    await deliver(settings)
    await deliver(settings)
    lost, again = email.requests
    assert (lost.message_id, lost.body) == (again.message_id, again.body)


@pytest.mark.parametrize("name", ["notification_service_url", "email_service_url"])
@pytest.mark.parametrize("value", ["localhost:5002", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_invalid_url_is_reported_in_one_line(make_settings: MakeSettings, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name.upper()} [^\n]+$"):
        make_settings(**{name: value})


@pytest.mark.parametrize(
    ("given", "destinations"),
    [
        ({}, ALWAYS_SERVED),
        ({"email_service_url": "http://e"}, ALWAYS_SERVED),
        ({"notification_service_url": "http://n"}, set(Destination)),
    ],
)
async def test_every_served_destination_has_a_sender(
    make_settings: MakeSettings, given: dict[str, Any], destinations: set[Destination]
) -> None:
    settings = make_settings(**given)
    parts = container.build_deliveries(settings)
    assert set(parts.deliver_due.senders) == container.served(settings) == destinations
    await parts.close()
