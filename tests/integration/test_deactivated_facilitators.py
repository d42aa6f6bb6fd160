"""Events of a deactivated facilitator are neither listed nor bookable, and cannot be paid."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from application.events.management import CreateEvent
from domain.accounts import UserId
from domain.coaches import CoachInactive
from domain.errors import Unauthenticated
from domain.events import EventDetails, EventId
from domain.money import Money
from domain.payments import GatewayUpdate, PaymentId, PaymentUpdate
from domain.time import Interval
from infrastructure import container
from infrastructure.postgres.appointments.coaches import PostgresCoaches
from infrastructure.postgres.bookings.seats import RESERVE, PostgresSeatInventory
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.conftest import a_client
from tests.support.http import serving
from tests.support.invariants import broken_invariants
from tests.support.load import many_users
from tests.support.messages import deliver_due
from tests.support.people import People, Person
from tests.support.rows import stored_row
from tests.support.without_locks import units_with


@dataclass
class DeactivationHarness:
    api: httpx.AsyncClient
    parts: container.Container
    records: asyncpg.Connection
    john: Person
    ada: Person
    uuid: str

    async def set_active(self, active: bool) -> None:
        assert await self.parts.administration.set_account_active(self.john.email, active=active)

    async def books_time(self) -> httpx.Response:
        at = (datetime.now(UTC) + timedelta(days=3)).replace(hour=10, minute=0, second=0, microsecond=0)
        wanted = {"coach_id": self.uuid, "session_datetime": at.isoformat(), "duration_minutes": 60}
        return await self.ada.post("/booking", wanted)

    async def booking(self, booking_id: int) -> tuple[str, str, str | None]:
        row = await stored_row(self.records, "SELECT * FROM bookings WHERE id = $1", booking_id)
        return row["status"], row["payment_status"], row["cancel_reason"]


@pytest.fixture(scope="module")
async def parts(make_shared_settings: Callable[..., Settings]) -> AsyncIterator[container.Container]:
    parts = container.build(make_shared_settings(payment_provider="sandbox"))
    yield parts
    await parts.close()


@pytest.fixture(scope="module")
async def sandbox_api(make_shared_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    settings = make_shared_settings(payment_provider="sandbox")
    async with serving(create_app(settings)) as address, a_client(address) as api:
        yield api


@pytest.fixture
async def harness(
    parts: container.Container, sandbox_api: httpx.AsyncClient, emptied_database: asyncpg.Connection
) -> DeactivationHarness:
    john, ada = await People(sandbox_api).facilitator(), await People(sandbox_api).user()
    uuid = (await john.get("/profile")).json()["uuid"]
    return DeactivationHarness(sandbox_api, parts, emptied_database, john, ada, uuid)


async def shown(harness: DeactivationHarness, event_id: int) -> dict[str, bool]:
    """Where the event is to be seen."""
    ada = harness.ada

    def listed(answer: httpx.Response) -> bool:
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return event_id in {event["id"] for event in (body["events"] if isinstance(body, dict) else body)}

    lists = {
        "B": "/events",
        "B, of the facilitator": f"/events?facilitator_id={harness.john.id}",
        "B, active": "/events?active=true",
        "D": "/events/filter?type=session",
        "A": "/api/events",
        "C": "/api/sessions",
    }
    found = {name: listed(await ada.get(path)) for name, path in lists.items()}
    reads = {
        "B, alone": f"/events/{event_id}",
        "A, alone": f"/api/events/{event_id}",
        "reviews": f"/events/{event_id}/reviews",
    }
    for name, path in reads.items():
        answer = await ada.get(path)
        assert answer.status_code in {200, 404}
        found[name] = answer.status_code == 200
    return found


async def responses(harness: DeactivationHarness, event_id: int) -> list[tuple[int, str]]:
    asked = [
        await harness.ada.post("/bookings", {"event_id": event_id}),
        await harness.ada.post("/bookings", {"event_id": event_id}, key="order-1"),
        await harness.ada.post("/api/bookings", {"event_id": event_id}),
        await harness.ada.post("/api/bookings", {"session_id": event_id}),
    ]
    return [(answer.status_code, answer.json()["code"]) for answer in asked]


async def test_events_of_a_deactivated_facilitator_are_not_listed_or_bookable(harness: DeactivationHarness) -> None:
    event, other = await harness.john.creates_event(), await (await People(harness.api).facilitator()).creates_event()
    assert set((await shown(harness, event["id"])).values()) == {True}
    await harness.set_active(False)
    assert set((await shown(harness, event["id"])).values()) == {False}
    elsewhere = await shown(harness, other["id"])
    assert [name for name, is_shown in elsewhere.items() if not is_shown] == ["B, of the facilitator"]
    assert await responses(harness, event["id"]) == [(404, "event_not_found")] * 4
    await harness.set_active(True)
    assert set((await shown(harness, event["id"])).values()) == {True}
    assert (await harness.ada.books(event["id"]))["status"] == "confirmed"
    assert await broken_invariants(harness.records) == []


async def test_cancelled_event_of_a_deactivated_facilitator_is_not_listed(harness: DeactivationHarness) -> None:
    event = await harness.john.creates_event()
    assert (await harness.john.post(f"/facilitator/events/{event['id']}/cancel")).is_success
    cancelled = "/events?active=false"
    assert event["id"] in {each["id"] for each in (await harness.api.get(cancelled)).json()["events"]}
    await harness.set_active(False)
    assert (await harness.api.get(cancelled)).json()["events"] == []


async def test_deactivation_ends_open_holds_and_keeps_paid_and_free_bookings(harness: DeactivationHarness) -> None:
    """Without a worker: the command that deactivates gives the seats up."""
    priced, free = await harness.john.creates_event(), await harness.john.creates_event(price=0)
    held, reserved = await harness.ada.books(priced["id"]), await harness.ada.books(free["id"])
    eve = await People(harness.api).user("Eve")
    answer = (await eve.post("/bookings", {"event_id": priced["id"]})).json()
    paid = answer["booking"]
    assert (await harness.api.post(_button(answer["payment_url"]))).status_code < 400
    await _apply_webhooks(harness)
    assert await harness.booking(paid["id"]) == ("confirmed", "completed", None)

    await harness.set_active(False)

    assert await harness.booking(held["id"]) == ("cancelled", "pending", "payment_expired")
    assert await harness.booking(paid["id"]) == ("confirmed", "completed", None)
    assert await harness.booking(reserved["id"]) == ("confirmed", "not_required", None)
    assert await harness.records.fetchval("SELECT booked FROM events WHERE id = $1", priced["id"]) == 1
    mine = (await eve.get(f"/bookings/{paid['id']}")).json()
    assert mine["event"]["title"] == priced["title"], "people see what they have booked"
    await harness.set_active(True)
    assert await harness.booking(held["id"]) == ("cancelled", "pending", "payment_expired")


async def test_seat_of_a_deactivated_facilitator_cannot_be_paid(harness: DeactivationHarness) -> None:
    """The account is deactivated, the hold not given up yet."""
    event = await harness.john.creates_event()
    held = await harness.ada.books(event["id"])
    assert (await harness.ada.post(f"/bookings/{held['id']}/pay")).status_code == 200
    await harness.records.execute("UPDATE users SET is_active = false WHERE id = $1", harness.john.id)
    answer = await harness.ada.post(f"/bookings/{held['id']}/pay")
    assert (answer.status_code, answer.json()["code"]) == (400, "nothing_to_pay")


async def test_payment_for_an_ended_hold_is_refunded(harness: DeactivationHarness) -> None:
    event = await harness.john.creates_event()
    held = await harness.ada.books(event["id"])
    await harness.set_active(False)
    payment = await stored_row(harness.records, "SELECT * FROM payments WHERE booking_id = $1", held["id"])
    report = GatewayUpdate(
        payment["gateway_reference"],
        PaymentUpdate.RECEIVED,
        PaymentId(payment["id"]),
        gateway_id="pay_late",
        amount=Money(payment["amount"], payment["currency"]),
    )
    settled = await harness.parts.use_cases.confirm_payment.settle_payment(payment["gateway"], report)
    assert settled == "given_back"
    assert await harness.booking(held["id"]) == ("cancelled", "refunded", "payment_expired")


async def test_deactivated_coach_has_no_slots_and_unpaid_appointments_expire(harness: DeactivationHarness) -> None:
    assert (await harness.john.put("/coach/availability", {"price_per_hour": 40, "timezone": "UTC"})).is_success
    answer = await harness.books_time()
    assert answer.status_code == 201, answer.text
    await harness.set_active(False)
    row = await stored_row(harness.records, "SELECT status, cancel_reason FROM coaching_bookings")
    assert tuple(row) == ("cancelled", "payment_expired")
    refused = await harness.books_time()
    assert (refused.status_code, refused.json()["code"]) == (400, CoachInactive.code)
    day = datetime.now(UTC).replace(microsecond=0)
    window = {"start_date": day.isoformat(), "end_date": (day + timedelta(days=5)).isoformat()}
    slots = await harness.api.get(f"/booking/coach/{harness.uuid}/availability", params=window)
    assert (slots.status_code, slots.json()["code"]) == (400, CoachInactive.code)
    await harness.set_active(True)
    assert (await harness.books_time()).status_code == 201


# Races: the control of each has the guard taken out and goes wrong


async def waiting(database: asyncpg.Connection, number: int) -> None:
    """Until so many statements wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while await database.fetchval(query) < number:  # noqa: ASYNC110 (a lock of another process is no event here)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("guarded", [True, False])
async def test_seat_booked_during_deactivation_is_not_reserved(
    harness: DeactivationHarness, shared_database_url: str, guarded: bool
) -> None:
    """Both wait for the event's row, the deactivation first. The booking began while the account was active."""
    take = RESERVE if guarded else RESERVE.replace(" AND facilitator_active", "")
    assert (take == RESERVE) is guarded
    seats = PostgresSeatInventory(harness.parts.database, gateway="offline", reserve=take)
    event = await harness.john.creates_event(price=0)
    other = await asyncpg.connect(shared_database_url)
    async with other.transaction():
        await other.execute("SELECT FROM events WHERE id = $1 FOR UPDATE", event["id"])
        deactivating = asyncio.create_task(harness.set_active(False))
        await waiting(harness.records, 1)
        booking = asyncio.create_task(
            seats.reserve(
                event_id=EventId(event["id"]),
                user_id=UserId(harness.ada.id),
                notes=None,
                now=datetime.now(UTC),
                hold_for=None,
                request_id=None,
            )
        )
        await waiting(harness.records, 2)
    await other.close()
    await deactivating
    assert (await booking is None) is guarded
    live = await harness.records.fetchval("SELECT count(*) FROM bookings WHERE event_id = $1", event["id"])
    assert live == (0 if guarded else 1)


class UnheldCoaches(PostgresCoaches):
    """Looks at the account without keeping it as it is."""

    async def get_to_book(self, coach: UUID) -> Any:
        return await self.get(coach)


async def while_deactivating(
    harness: DeactivationHarness, database_url: str, act: Callable[[], Awaitable[Any]], *, waits: bool
) -> Any:
    """What comes of it when the account is deactivated and that is not committed yet."""
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("UPDATE users SET is_active = false WHERE id = $1", harness.john.id)
        acting = asyncio.ensure_future(act())
        if waits:
            await waiting(harness.records, 1)
        else:
            await asyncio.wait([acting])
    await other.close()
    return (await asyncio.gather(acting, return_exceptions=True))[0]


@pytest.mark.parametrize("guarded", [True, False])
async def test_appointment_booked_during_deactivation_is_not_reserved(
    harness: DeactivationHarness, shared_database_url: str, guarded: bool
) -> None:
    book = harness.parts.appointment.book_appointment
    if not guarded:
        units = units_with(coaches=lambda session: UnheldCoaches(session, "INR"))
        given = harness.parts.open_work
        unheld = units(harness.parts.database, given._routes, harness.parts.use_cases.clock, lambda: None)  # type: ignore[attr-defined]
        book = replace(book, open_work=unheld)
    async with harness.parts.open_work() as work:
        client = await work.users.get(UserId(harness.ada.id))
    at = (datetime.now(UTC) + timedelta(days=3)).replace(hour=10, minute=0, second=0, microsecond=0)
    outcome = await while_deactivating(
        harness,
        shared_database_url,
        lambda: book(client, UUID(harness.uuid), at, timedelta(hours=1), None),
        waits=guarded,
    )
    assert isinstance(outcome, CoachInactive) is guarded
    assert await harness.records.fetchval("SELECT count(*) FROM coaching_bookings") == (0 if guarded else 1)


async def test_event_created_during_deactivation_is_not_stored(
    harness: DeactivationHarness, shared_database_url: str
) -> None:
    async with harness.parts.open_work() as work:
        john = await work.users.get(UserId(harness.john.id))
    starts = datetime.now(UTC) + timedelta(days=5)
    details = EventDetails("Yoga", Interval(starts, starts + timedelta(hours=1)), 5, Money.from_minor_units(0, "INR"))
    create: CreateEvent = harness.parts.use_cases.create_event
    outcome = await while_deactivating(harness, shared_database_url, lambda: create(john, details), waits=True)
    assert isinstance(outcome, Unauthenticated)
    assert await harness.records.fetchval("SELECT count(*) FROM events") == 0


async def test_concurrent_bookings_and_deactivation_leave_no_booking(harness: DeactivationHarness) -> None:
    event = await harness.john.creates_event(max_participants=60, price=30)
    async with harness.parts.open_work() as work:
        users = [await work.users.get(UserId(member.id)) for member in await many_users(harness.records, 30)]
    book = harness.parts.use_cases.book_seat

    async def deactivate_in_between() -> None:
        booked = "SELECT booked FROM events WHERE id = $1"
        while not await harness.records.fetchval(booked, event["id"]):  # noqa: ASYNC110 (of another connection)
            await asyncio.sleep(0.005)
        await harness.set_active(False)

    outcomes = await asyncio.gather(
        deactivate_in_between(),
        *(book(user, EventId(event["id"]), None) for user in users),
        return_exceptions=True,
    )
    assert len(outcomes) == 31
    assert await harness.records.fetchval("SELECT booked FROM events WHERE id = $1", event["id"]) == 0
    assert await broken_invariants(harness.records) == []


def _button(payment_url: str) -> str:
    return f"{httpx.URL(payment_url).path}/paid"


async def _apply_webhooks(harness: DeactivationHarness) -> None:
    parts = container.build_deliveries(harness.parts.settings)
    await deliver_due(parts.deliver_due, "payments")  # type: ignore[arg-type]
    await parts.close()
