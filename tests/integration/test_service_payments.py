"""What a service reports with BACKEND_SERVICE_TOKEN: a booking that was paid on the spot."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.messages import until
from tests.support.people import People, Person
from tests.support.shapes import misfits

PATH = "/service/offline-payments"
SERVICE = {"Authorization": "Bearer a-service-token-of-the-tests"}


def refused(sentence: str, code: str, **more: Any) -> dict[str, Any]:
    return {"error": sentence, "code": code, "request_id": str} | more


UNAUTHENTICATED = refused("Invalid or expired token", "invalid_token")
SENT_MESSAGES = [("crm", "completed"), ("email", "completed"), ("realtime", "completed")]
NO_BOOKING = refused("Booking not found", "booking_not_found")


async def an_unpaid_booking(john: Person, guest: Person, *, price: int = 25) -> dict[str, int]:
    """The body that reports it as paid."""
    event = await john.creates_event(price=price)
    booking = await guest.books(event["id"])
    return {"booking_id": booking["id"], "user_id": guest.id, "event_id": event["id"]}


async def status_of(guest: Person, report: dict[str, int]) -> Any:
    return (await guest.get(f"/bookings/{report['booking_id']}")).json()["payment_status"]


async def sent_messages(database: asyncpg.Connection, report: dict[str, int]) -> list[tuple[str, str]]:
    """Which of the booking's messages say that it was paid: destination and the payment's status in it."""
    rows = await database.fetch(
        """SELECT destination, snapshot::jsonb->'booking'->>'payment_status' AS status FROM outbox
           WHERE fact = 'payment_completed' AND lane = 'booking:' || $1::text""",
        str(report["booking_id"]),
    )
    return sorted((row["destination"], row["status"]) for row in rows)


async def payments(database: asyncpg.Connection, report: dict[str, int]) -> list[tuple[str, str]]:
    rows = await database.fetch("SELECT gateway, status FROM payments WHERE booking_id = $1", report["booking_id"])
    return [(row["gateway"], row["status"]) for row in rows]


async def several_wait(database: asyncpg.Connection) -> bool:
    """Whether more than one request waits for a locked row."""
    # A transaction goes on seeing the activity that it saw first.
    await database.execute("SELECT pg_stat_clear_snapshot()")
    waiting: int = await database.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return waiting > 1


async def test_reported_payment_is_recorded_and_sent(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    report = await an_unpaid_booking(john, ada)
    assert await status_of(ada, report) == "pending"
    answer = await shared_api.post(PATH, json=report, headers=SERVICE)
    recorded = {"message": "Payment recorded", "booking_id": report["booking_id"], "payment_status": "completed"}
    assert (answer.status_code, answer.json()) == (200, recorded)
    assert await status_of(ada, report) == "completed"
    assert await payments(shared_database, report) == [("offline", "completed")]
    assert await sent_messages(shared_database, report) == SENT_MESSAGES


async def test_repeated_report_is_recorded_once(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    report = await an_unpaid_booking(john, ada)
    first, second = [await shared_api.post(PATH, json=report, headers=SERVICE) for _ in range(2)]
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert await sent_messages(shared_database, report) == SENT_MESSAGES


async def test_twenty_concurrent_reports_are_recorded_once(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    """They are held up at the booking until several have reached it."""
    report = await an_unpaid_booking(john, ada)
    async with shared_database.transaction():
        await shared_database.execute("SELECT FROM bookings WHERE id = $1 FOR UPDATE", report["booking_id"])
        reports = [asyncio.create_task(shared_api.post(PATH, json=report, headers=SERVICE)) for _ in range(20)]
        await until(lambda: several_wait(shared_database))
    answers = await asyncio.gather(*reports)
    assert {(answer.status_code, answer.json()["payment_status"]) for answer in answers} == {(200, "completed")}
    assert await payments(shared_database, report) == [("offline", "completed")]
    assert await sent_messages(shared_database, report) == SENT_MESSAGES


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer wrong", "Bearer", "Basic a-service-token-of-the-tests", "a-service-token-of-the-tests"],
)
async def test_without_the_service_token_nothing_is_recorded(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, authorization: str | None
) -> None:
    report = await an_unpaid_booking(john, ada)
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await shared_api.post(PATH, json=report, headers=headers)
    assert (answer.status_code, misfits(UNAUTHENTICATED, answer.json())) == (401, [])
    assert await status_of(ada, report) == "pending"


async def test_user_token_is_not_a_service_token(
    shared_people: People, john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    report, admin = await an_unpaid_booking(john, ada), await shared_people.user()
    await shared_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", admin.id)
    for person in (ada, john, admin):
        answer = await person.post(PATH, report)
        assert (answer.status_code, misfits(UNAUTHENTICATED, answer.json())) == (401, [])
    assert await status_of(ada, report) == "pending"


async def test_service_token_is_not_a_user_token(shared_api: httpx.AsyncClient) -> None:
    answer = await shared_api.get("/bookings", headers=SERVICE)
    assert (answer.status_code, misfits(UNAUTHENTICATED, answer.json())) == (401, [])


async def test_ids_that_do_not_match_return_404(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, shared_people: People
) -> None:
    bob = await shared_people.user("Bob")
    report, other = await an_unpaid_booking(john, ada), await an_unpaid_booking(john, bob)
    for name in report:
        for wrong in (other[name], 2**63 - 1):
            answer = await shared_api.post(PATH, json=report | {name: wrong}, headers=SERVICE)
            assert (answer.status_code, misfits(NO_BOOKING, answer.json())) == (404, [])
    assert [await status_of(ada, report), await status_of(bob, other)] == ["pending", "pending"]


async def test_free_seat_has_nothing_to_pay(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    report = await an_unpaid_booking(john, ada, price=0)
    answer = await shared_api.post(PATH, json=report, headers=SERVICE)
    assert (answer.status_code, answer.json()["payment_status"]) == (200, "not_required")
    assert await payments(shared_database, report) == []
    assert await sent_messages(shared_database, report) == []


async def test_cancelled_booking_has_nothing_to_pay(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    report = await an_unpaid_booking(john, ada)
    await ada.post(f"/bookings/{report['booking_id']}/cancel")
    answer = await shared_api.post(PATH, json=report, headers=SERVICE)
    assert (answer.status_code, misfits(refused("Booking is cancelled", "booking_cancelled"), answer.json())) == (
        400,
        [],
    )
    assert await status_of(ada, report) == "pending"
    assert await sent_messages(shared_database, report) == []


async def test_refunded_payment_stays_refunded_when_reported_again(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    report = await an_unpaid_booking(john, ada)
    await shared_api.post(PATH, json=report, headers=SERVICE)
    await ada.post(f"/bookings/{report['booking_id']}/cancel")
    answer = await shared_api.post(PATH, json=report, headers=SERVICE)
    assert (answer.status_code, answer.json()["payment_status"]) == (200, "refunded")
    assert await sent_messages(shared_database, report) == SENT_MESSAGES


@pytest.mark.parametrize("name", ["booking_id", "user_id", "event_id"])
@pytest.mark.parametrize("value", [None, "x", 0, -1, 1.5, 2**63])
async def test_report_requires_three_ids(shared_api: httpx.AsyncClient, name: str, value: Any) -> None:
    report = {"booking_id": 1, "user_id": 1, "event_id": 1}
    missing = {field: number for field, number in report.items() if field != name}
    for body in (missing, report | {name: value}):
        answer = await shared_api.post(PATH, json=body, headers=SERVICE)
        expected = refused("Validation error", "validation_error", details={name: str})
        assert (answer.status_code, misfits(expected, answer.json())) == (400, [])
