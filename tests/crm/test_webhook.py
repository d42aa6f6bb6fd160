"""Contract D's webhook: stored once, forwarded unchanged, its payment reported, also after failures."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from crm.delivery.failures import DestinationUnavailable
from crm.delivery.http import WebhookSender
from crm.settings import CrmSettings
from crm.webhook_store import WebhookDelivery
from tests.crm.parts import connected, running_crm, settings_for, until
from tests.support.receivers import Behaviour, Receiver, Request, answer, receiving

EXAMPLE = {
    "booking_id": 15,
    "user": {"name": "Alice", "email": "alice@example.com"},
    "event": 7,
    "facilitator_id": 3,
}
PAID = {"booking_id": 15, "user_id": 12, "event_id": 7, "payment_status": "paid"}
KEY = {"Idempotency-Key": "w-1"}
JSON = {"Content-Type": "application/json"}
FORWARD_TOKEN, SERVICE_TOKEN = "a-forward-token", "a-service-token"


@pytest.fixture(scope="module")
async def _receivers() -> AsyncIterator[tuple[Receiver, Receiver]]:
    async with receiving() as one, receiving() as other:
        yield one, other


@pytest.fixture
def elsewhere(_receivers: tuple[Receiver, Receiver]) -> Receiver:
    """The other server that webhooks are forwarded to; it takes everything."""
    return _fresh(_receivers[0])


@pytest.fixture
def booking_api(_receivers: tuple[Receiver, Receiver]) -> Receiver:
    return _fresh(_receivers[1])


def _fresh(receiver: Receiver) -> Receiver:
    receiver.requests, receiver.behave = [], None
    return receiver


def _settings(dsn: str, data: Path, receivers: tuple[Receiver, Receiver]) -> CrmSettings:
    elsewhere, booking_api = receivers
    return settings_for(
        dsn,
        CONVENE_DATA=str(data),
        FORWARD_FLASK_URL=f"{elsewhere.url}/receive",
        FORWARD_FLASK_TOKEN=FORWARD_TOKEN,
        BOOKING_API_URL=f"{booking_api.url}/",
        BACKEND_SERVICE_TOKEN=SERVICE_TOKEN,
    )


@pytest.fixture
def settings(dsn: str, tmp_path: Path, elsewhere: Receiver, booking_api: Receiver) -> CrmSettings:
    return _settings(dsn, tmp_path, (elsewhere, booking_api))


@pytest.fixture(scope="module")
async def _hooked(
    _served_dsn: str, tmp_path_factory: pytest.TempPathFactory, _receivers: tuple[Receiver, Receiver]
) -> AsyncIterator[httpx.AsyncClient]:
    async with running_crm(_settings(_served_dsn, tmp_path_factory.mktemp("crm"), _receivers)) as client:
        yield client


@pytest.fixture
def hooked(_hooked: httpx.AsyncClient, crm_dsn: str, elsewhere: Receiver, booking_api: Receiver) -> httpx.AsyncClient:
    """A CRM with nothing in `crm_dsn` that forwards to `elsewhere` and reports to `booking_api`."""
    return _hooked


async def rows(dsn: str, table: str = "crm_booking_deliveries") -> list[Any]:
    async with connected(dsn) as connection:
        found: list[Any] = await connection.fetch(f"SELECT * FROM {table} ORDER BY id")
        return found


async def settled(dsn: str, *statuses: str) -> list[Any]:
    """The deliveries in the order of their creation, as soon as they have these statuses."""

    async def they_are() -> bool:
        return tuple(row["status"] for row in await rows(dsn)) == statuses

    await until(they_are)
    return await rows(dsn)


async def due_again(dsn: str) -> None:
    """The wait for the next attempt is over."""
    async with connected(dsn) as connection:
        await connection.execute("UPDATE crm_booking_deliveries SET next_attempt_at = now() WHERE status = 'pending'")


async def test_webhook_is_stored_and_forwarded_unchanged(
    hooked: httpx.AsyncClient, crm_dsn: str, elsewhere: Receiver, booking_api: Receiver
) -> None:
    body = (
        b' {"event": 7,  "booking_id": 15, "user": {"name": "Al\\u0069ce", "name": "\xc3\x84"}, "facilitator_id": 3}\n'
    )
    received = (await hooked.post("/webhook", content=body, headers=JSON)).json()
    assert received["forwarding"] is True
    assert received["reporting_payment"] is False
    [delivery] = await settled(crm_dsn, "sent")
    [request] = elsewhere.requests
    assert (request.method, request.path, request.body) == ("POST", "/receive", body)
    assert request.headers["authorization"] == f"Bearer {FORWARD_TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert request.message_id == received["webhook_id"]
    [stored] = await rows(crm_dsn, "crm_bookings")
    assert str(stored["id"]) == received["webhook_id"]
    columns = ("booking_id", "user_id", "user_name", "event_id", "facilitator_id", "payment_status")
    assert [stored[column] for column in columns] == [15, None, "Ä", 7, 3, None]
    assert delivery["response"] == "Forward taken: 200 OK: {}"
    assert booking_api.requests == []


@pytest.mark.parametrize(
    "body",
    [
        PAID,
        {**EXAMPLE, "payment_status": "paid", "user": {"id": 12}},
        {**EXAMPLE, "payment_status": "paid", "user_id": 12, "event": {"id": 7, "title": "Yoga", "facilitator_id": 3}},
    ],
)
async def test_payment_is_reported_to_the_booking_api(
    hooked: httpx.AsyncClient, crm_dsn: str, booking_api: Receiver, body: dict[str, object]
) -> None:
    received = (await hooked.post("/webhook", json=body)).json()
    assert received["reporting_payment"] is True
    await settled(crm_dsn, "sent", "sent")
    [request] = booking_api.requests
    assert (request.method, request.path) == ("POST", "/service/offline-payments")
    assert request.json == {"booking_id": 15, "user_id": 12, "event_id": 7}
    assert request.headers["authorization"] == f"Bearer {SERVICE_TOKEN}"
    assert request.message_id == received["webhook_id"]


@pytest.mark.parametrize(
    "changes",
    [
        {"payment_status": "unpaid", "user_id": 12},
        {"payment_status": "paid"},
        {"payment_status": "paid", "user": {"id": "twelve"}},
        {"payment_status": "paid", "user_id": 12, "event": {"title": "Yoga"}},
    ],
)
async def test_unpaid_or_incomplete_webhook_is_not_reported(
    hooked: httpx.AsyncClient, crm_dsn: str, booking_api: Receiver, changes: dict[str, object]
) -> None:
    response = await hooked.post("/webhook", json={**EXAMPLE, **changes})
    assert (response.status_code, response.json()["reporting_payment"]) == (200, False)
    await settled(crm_dsn, "sent")
    assert booking_api.requests == []


async def test_without_url_nothing_is_forwarded_and_without_token_reports_wait(
    dsn: str, tmp_path: Path, booking_api: Receiver
) -> None:
    async with running_crm(settings_for(dsn, CONVENE_DATA=str(tmp_path), BOOKING_API_URL=booking_api.url)) as client:
        received = (await client.post("/webhook", json=PAID)).json()
        assert (received["forwarding"], received["reporting_payment"]) == (False, True)
        [delivery] = await rows(dsn)
        assert (delivery["destination"], delivery["status"], delivery["attempts"]) == ("payment", "pending", 0)
    given = {"BOOKING_API_URL": booking_api.url, "BACKEND_SERVICE_TOKEN": SERVICE_TOKEN}
    async with running_crm(settings_for(dsn, CONVENE_DATA=str(tmp_path), **given)):
        await settled(dsn, "sent")
    assert len(booking_api.requests) == 1


@pytest.mark.parametrize("header", ["Idempotency-Key", "webhook-id"])
async def test_same_key_has_one_effect(
    hooked: httpx.AsyncClient, crm_dsn: str, elsewhere: Receiver, header: str
) -> None:
    answers = [await hooked.post("/webhook", json=PAID, headers={header: "w-1"}) for _ in range(3)]
    answers.append(await hooked.post("/webhook", json=dict(reversed(PAID.items())), headers={header: "w-1"}))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    refused = await hooked.post("/webhook", json={**PAID, "booking_id": 16}, headers={header: "w-1"})
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    await settled(crm_dsn, "sent", "sent")
    assert len(elsewhere.requests) == 1


async def _race(settings: CrmSettings) -> list[httpx.Response]:
    async with running_crm(settings) as one, running_crm(settings) as other:
        await asyncio.gather(*(client.get("/notifications") for client in (one, other) for _ in range(4)))
        calls = [client.post("/webhook", json=EXAMPLE, headers=KEY) for client in (one, other) * 10]
        return await asyncio.gather(*calls)


async def test_same_key_on_two_processes_has_one_effect(settings: CrmSettings, dsn: str, elsewhere: Receiver) -> None:
    answers = await _race(settings)
    assert len({answer.text for answer in answers}) == 1
    await settled(dsn, "sent")
    assert len(elsewhere.requests) == 1


async def test_two_processes_deliver_every_webhook_once(settings: CrmSettings, dsn: str, elsewhere: Receiver) -> None:
    async with running_crm(settings) as one, running_crm(settings) as other:
        calls = [
            client.post("/webhook", json={**EXAMPLE, "booking_id": n + 1}) for n in range(15) for client in (one, other)
        ]
        await asyncio.gather(*calls)
        await settled(dsn, *["sent"] * 30)
    assert len(elsewhere.message_ids) == len(set(elsewhere.message_ids)) == 30


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
async def test_client_error_is_not_retried_and_is_stored_in_the_row(
    hooked: httpx.AsyncClient, crm_dsn: str, booking_api: Receiver, status: int
) -> None:
    booking_api.always(answer(status, b'{"error": "Booking not found"}'))
    await hooked.post("/webhook", json=PAID)
    [forward, payment] = await settled(crm_dsn, "sent", "failed")
    assert (forward["destination"], payment["destination"]) == ("forward", "payment")
    assert payment["response"].startswith(f"Payment report failed: {status} ")
    assert "Booking not found" in payment["response"]
    assert len(booking_api.requests) == 1


@pytest.mark.parametrize("status", [302, 408, 425, 429, 500, 503])
async def test_temporary_error_is_retried_with_the_same_key(
    hooked: httpx.AsyncClient, crm_dsn: str, booking_api: Receiver, status: int
) -> None:
    booking_api.always(answer(status, b"later", Location=booking_api.url, Retry_After="7200"))
    await hooked.post("/webhook", json=PAID)
    await until(lambda: booking_api.requests)
    await _put_off(crm_dsn)
    async with connected(crm_dsn) as connection:
        wait = "SELECT next_attempt_at > now() + interval '110 minutes' FROM crm_booking_deliveries"
        assert await connection.fetchval(f"{wait} WHERE destination = 'payment'")
    booking_api.always(answer())
    await due_again(crm_dsn)
    [_, payment] = await settled(crm_dsn, "sent", "sent")
    assert payment["attempts"] == 2
    assert len(booking_api.requests) == 2
    assert len(set(booking_api.message_ids)) == 1


async def _put_off(dsn: str) -> None:
    async def noted() -> bool:
        return any(row["status"] == "pending" and row["response"] for row in await rows(dsn))

    await until(noted)


async def test_recovered_server_gets_every_webhook_once_and_blocks_no_other(
    dsn: str, tmp_path: Path, booking_api: Receiver
) -> None:
    async with receiving() as receiver:
        address = receiver.url
    given = {"FORWARD_FLASK_URL": address, "FORWARD_FLASK_TOKEN": FORWARD_TOKEN, "BACKEND_SERVICE_TOKEN": SERVICE_TOKEN}
    settings = settings_for(dsn, CONVENE_DATA=str(tmp_path), BOOKING_API_URL=booking_api.url, **given)
    async with running_crm(settings) as client:
        for number in range(1, 6):
            assert (await client.post("/webhook", json={**PAID, "booking_id": number})).status_code == 200
        await until(lambda: len(booking_api.requests) == 5)
        await _put_off(dsn)
        port = int(address.rpartition(":")[2])
        async with receiving(port) as back:
            await settled(dsn, *["sent"] * 10)
    assert sorted(request.json["booking_id"] for request in back.requests) == [1, 2, 3, 4, 5]


async def test_delivery_of_a_dead_process_is_taken_over(settings: CrmSettings, dsn: str, elsewhere: Receiver) -> None:
    async with connected(dsn) as connection:
        await connection.execute(
            "WITH b AS (INSERT INTO crm_bookings (body, booking_id) VALUES ('{}', 1) RETURNING id) "
            "INSERT INTO crm_booking_deliveries (crm_booking_id, destination, body, attempts, next_attempt_at, lease) "
            "SELECT id, 'forward', '{\"booking_id\": 1}', 1, now() + interval '1 hour', uuidv7() FROM b"
        )
    async with running_crm(settings):
        await asyncio.sleep(0.5)
        assert elsewhere.requests == []
        async with connected(dsn) as connection:
            await connection.execute("UPDATE crm_booking_deliveries SET next_attempt_at = now()")
        [delivery] = await settled(dsn, "sent")
    assert delivery["attempts"] == 2


async def test_long_answer_is_read_to_its_limit_only(
    hooked: httpx.AsyncClient, crm_dsn: str, elsewhere: Receiver
) -> None:
    async def endless(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b"3e8\r\n" + b"\0" * 1000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)

    elsewhere.behave = endless
    await hooked.post("/webhook", json=EXAMPLE)
    [delivery] = await settled(crm_dsn, "sent")
    assert len(delivery["response"]) < 600


async def _never(_: Request, __: asyncio.StreamWriter) -> bytes:
    await asyncio.Event().wait()
    return b""


async def _by_drops(_: Request, writer: asyncio.StreamWriter) -> bytes:
    for drop in answer(body=b"x" * 1000):
        writer.write(bytes([drop]))
        await writer.drain()
        await asyncio.sleep(0.05)
    return b""


async def _hang_up(_: Request, __: asyncio.StreamWriter) -> None:
    return None


@pytest.mark.parametrize("behave", [_never, _by_drops, _hang_up])
async def test_server_without_a_timely_answer_is_unavailable(elsewhere: Receiver, behave: Behaviour) -> None:
    elsewhere.behave = behave
    delivery = WebhookDelivery(1, UUID(int=1), "{}", datetime.now(UTC), 1)
    sender = WebhookSender("Forward", elsewhere.url, FORWARD_TOKEN, seconds=0.3)
    try:
        with pytest.raises(DestinationUnavailable):
            await sender.deliver(delivery)
    finally:
        await sender.close()


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ({}, ["booking_id", "user", "event", "facilitator_id"]),
        ({"booking_id": 15, "user": None, "event": None, "facilitator_id": 3}, ["user", "event"]),
        ({"booking_id": 15, "user": {}, "event": 7}, ["facilitator_id"]),
        ({"payment_status": "paid"}, ["booking_id", "user", "event"]),
    ],
)
async def test_missing_fields_are_named(
    refusing_crm: httpx.AsyncClient, body: dict[str, object], missing: list[str]
) -> None:
    response = await refusing_crm.post("/webhook", json=body)
    assert response.status_code == 400
    assert (response.json()["error"], response.json()["missing_fields"]) == ("Missing required fields", missing)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"booking_id": "15"}, "booking_id"),
        ({"booking_id": 0}, "booking_id"),
        ({"event": "seven"}, "event"),
        ({"event": {"id": -1}}, "event.id"),
        ({"user": "Alice"}, "user"),
        ({"user_id": 1.5}, "user_id"),
        ({"payment_status": True}, "payment_status"),
    ],
)
async def test_invalid_value_returns_400_with_its_field(
    refusing_crm: httpx.AsyncClient, changes: dict[str, object], field: str
) -> None:
    response = await refusing_crm.post("/webhook", json={**EXAMPLE, **changes})
    assert response.status_code == 400
    assert response.json()["details"].keys() == {field}


@pytest.mark.parametrize("fragment", [b'"x": 1e-99999', b'"x": "a\\u0000b"', b'"x": 9223372036854775808', b'"x":'])
async def test_value_that_the_database_cannot_store_returns_400(
    refusing_crm: httpx.AsyncClient, fragment: bytes
) -> None:
    body = json.dumps(EXAMPLE).encode()[:-1] + b", " + fragment + b"}"
    for headers in (JSON, JSON | KEY):
        assert (await refusing_crm.post("/webhook", content=body, headers=headers)).status_code == 400


async def test_with_its_own_secret_the_webhook_accepts_no_other_token(dsn: str, tmp_path: Path) -> None:
    async with running_crm(settings_for(dsn, CONVENE_DATA=str(tmp_path), CRM_WEBHOOK_SECRET="of-its-own")) as client:
        assert (await client.post("/webhook", json=EXAMPLE)).status_code == 403
        headers = {"Authorization": "Bearer of-its-own"}
        assert (await client.post("/webhook", json=EXAMPLE, headers=headers)).status_code == 200
        assert (await client.get("/notifications", headers=headers)).status_code == 401
