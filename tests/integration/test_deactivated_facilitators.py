"""A deactivated facilitator's events are neither shown nor sold, and nobody pays for them."""

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
class Studio:
    api: httpx.AsyncClient
    parts: container.Container
    records: asyncpg.Connection
    john: Person
    ada: Person
    uuid: str

    async def set_active(self, active: bool) -> None:
        assert await self.parts.use_cases.set_account_active(email=self.john.email, active=active)

    async def books_time(self) -> httpx.Response:
        at = (datetime.now(UTC) + timedelta(days=3)).replace(hour=10, minute=0, second=0, microsecond=0)
        wanted = {"coach_id": self.uuid, "session_datetime": at.isoformat(), "duration_minutes": 60}
        return await self.ada.post("/booking", wanted)

    async def booking(self, booking_id: int) -> tuple[str, str, str | None]:
        row = await stored_row(self.records, "SELECT * FROM bookings WHERE id = $1", booking_id)
        return row["status"], row["payment_status"], row["cancel_reason"]


@pytest.fixture
async def studio(make_settings: Callable[..., Settings], database: asyncpg.Connection) -> AsyncIterator[Studio]:
    settings = make_settings(payment_provider="sandbox")
    parts = container.build(settings)
    async with serving(create_app(settings)) as address, a_client(address) as api:
        john, ada = await People(api).facilitator(), await People(api).user()
        uuid = (await john.get("/profile")).json()["uuid"]
        yield Studio(api, parts, database, john, ada, uuid)
    await parts.close()


async def shown(studio: Studio, event_id: int) -> dict[str, bool]:
    """Where the event is to be seen."""
    ada = studio.ada

    def listed(answer: httpx.Response) -> bool:
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return event_id in {event["id"] for event in (body["events"] if isinstance(body, dict) else body)}

    lists = {
        "B": "/events",
        "B, of the facilitator": f"/events?facilitator_id={studio.john.id}",
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


async def responses(studio: Studio, event_id: int) -> list[tuple[int, str]]:
    asked = [
        await studio.ada.post("/bookings", {"event_id": event_id}),
        await studio.ada.post("/bookings", {"event_id": event_id}, key="order-1"),
        await studio.ada.post("/api/bookings", {"event_id": event_id}),
        await studio.ada.post("/api/bookings", {"session_id": event_id}),
    ]
    return [(answer.status_code, answer.json()["code"]) for answer in asked]


async def test_events_of_a_deactivated_facilitator_are_not_listed_or_bookable(studio: Studio) -> None:
    event, other = await studio.john.creates_event(), await (await People(studio.api).facilitator()).creates_event()
    assert set((await shown(studio, event["id"])).values()) == {True}
    await studio.set_active(False)
    assert set((await shown(studio, event["id"])).values()) == {False}
    elsewhere = await shown(studio, other["id"])
    assert [name for name, is_shown in elsewhere.items() if not is_shown] == ["B, of the facilitator"]
    assert await responses(studio, event["id"]) == [(404, "event_not_found")] * 4
    await studio.set_active(True)
    assert set((await shown(studio, event["id"])).values()) == {True}
    assert (await studio.ada.books(event["id"]))["status"] == "confirmed"
    assert await broken_invariants(studio.records) == []


async def test_cancelled_event_of_a_deactivated_facilitator_is_not_listed(studio: Studio) -> None:
    event = await studio.john.creates_event()
    assert (await studio.john.post(f"/facilitator/events/{event['id']}/cancel")).is_success
    cancelled = "/events?active=false"
    assert event["id"] in {each["id"] for each in (await studio.api.get(cancelled)).json()["events"]}
    await studio.set_active(False)
    assert (await studio.api.get(cancelled)).json()["events"] == []


async def test_deactivation_ends_open_holds_and_keeps_paid_and_free_bookings(studio: Studio) -> None:
    """Without a worker: the command that deactivates gives the seats up."""
    priced, free = await studio.john.creates_event(), await studio.john.creates_event(price=0)
    held, reserved = await studio.ada.books(priced["id"]), await studio.ada.books(free["id"])
    eve = await People(studio.api).user("Eve")
    answer = (await eve.post("/bookings", {"event_id": priced["id"]})).json()
    paid = answer["booking"]
    assert (await studio.api.post(_button(answer["payment_url"]))).status_code < 400
    await _apply_webhooks(studio)
    assert await studio.booking(paid["id"]) == ("confirmed", "completed", None)

    await studio.set_active(False)

    assert await studio.booking(held["id"]) == ("cancelled", "pending", "payment_expired")
    assert await studio.booking(paid["id"]) == ("confirmed", "completed", None)
    assert await studio.booking(reserved["id"]) == ("confirmed", "not_required", None)
    assert await studio.records.fetchval("SELECT booked FROM events WHERE id = $1", priced["id"]) == 1
    mine = (await eve.get(f"/bookings/{paid['id']}")).json()
    assert mine["event"]["title"] == priced["title"], "people see what they have booked"
    await studio.set_active(True)
    assert await studio.booking(held["id"]) == ("cancelled", "pending", "payment_expired")


async def test_seat_of_a_deactivated_facilitator_cannot_be_paid(studio: Studio) -> None:
    """The account is deactivated, the hold not given up yet."""
    event = await studio.john.creates_event()
    held = await studio.ada.books(event["id"])
    assert (await studio.ada.post(f"/bookings/{held['id']}/pay")).status_code == 200
    await studio.records.execute("UPDATE users SET is_active = false WHERE id = $1", studio.john.id)
    answer = await studio.ada.post(f"/bookings/{held['id']}/pay")
    assert (answer.status_code, answer.json()["code"]) == (400, "nothing_to_pay")


async def test_payment_for_an_ended_hold_is_refunded(studio: Studio) -> None:
    event = await studio.john.creates_event()
    held = await studio.ada.books(event["id"])
    await studio.set_active(False)
    payment = await stored_row(studio.records, "SELECT * FROM payments WHERE booking_id = $1", held["id"])
    report = GatewayUpdate(
        payment["gateway_reference"],
        PaymentUpdate.RECEIVED,
        PaymentId(payment["id"]),
        gateway_id="pay_late",
        amount=Money(payment["amount"], payment["currency"]),
    )
    settled = await studio.parts.use_cases.confirm_payment.settle_payment(payment["gateway"], report)
    assert settled == "given_back"
    assert await studio.booking(held["id"]) == ("cancelled", "refunded", "payment_expired")


async def test_deactivated_coach_has_no_slots_and_unpaid_appointments_expire(studio: Studio) -> None:
    assert (await studio.john.put("/coach/availability", {"price_per_hour": 40, "timezone": "UTC"})).is_success
    answer = await studio.books_time()
    assert answer.status_code == 201, answer.text
    await studio.set_active(False)
    row = await stored_row(studio.records, "SELECT status, cancel_reason FROM coaching_bookings")
    assert tuple(row) == ("cancelled", "payment_expired")
    refused = await studio.books_time()
    assert (refused.status_code, refused.json()["code"]) == (400, CoachInactive.code)
    day = datetime.now(UTC).replace(microsecond=0)
    window = {"start_date": day.isoformat(), "end_date": (day + timedelta(days=5)).isoformat()}
    slots = await studio.api.get(f"/booking/coach/{studio.uuid}/availability", params=window)
    assert (slots.status_code, slots.json()["code"]) == (400, CoachInactive.code)
    await studio.set_active(True)
    assert (await studio.books_time()).status_code == 201


# Races: the control of each has the guard taken out and goes wrong


async def waiting(database: asyncpg.Connection, number: int) -> None:
    """Until so many statements wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while await database.fetchval(query) < number:  # noqa: ASYNC110 (a lock of another process is no event here)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("guarded", [True, False])
async def test_seat_booked_during_deactivation_is_not_reserved(
    studio: Studio, database_url: str, guarded: bool
) -> None:
    """Both wait for the event's row, the deactivation first. The booking began while the account was active."""
    take = RESERVE if guarded else RESERVE.replace(" AND facilitator_active", "")
    assert (take == RESERVE) is guarded
    seats = PostgresSeatInventory(studio.parts.database, gateway="offline", reserve=take)
    event = await studio.john.creates_event(price=0)
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("SELECT FROM events WHERE id = $1 FOR UPDATE", event["id"])
        deactivating = asyncio.create_task(studio.set_active(False))
        await waiting(studio.records, 1)
        booking = asyncio.create_task(
            seats.reserve(
                event_id=EventId(event["id"]),
                user_id=UserId(studio.ada.id),
                notes=None,
                now=datetime.now(UTC),
                hold_for=None,
                request_id=None,
            )
        )
        await waiting(studio.records, 2)
    await other.close()
    await deactivating
    assert (await booking is None) is guarded
    live = await studio.records.fetchval("SELECT count(*) FROM bookings WHERE event_id = $1", event["id"])
    assert live == (0 if guarded else 1)


class UnheldCoaches(PostgresCoaches):
    """Looks at the account without keeping it as it is."""

    async def get_to_book(self, coach: UUID) -> Any:
        return await self.get(coach)


async def while_deactivating(
    studio: Studio, database_url: str, act: Callable[[], Awaitable[Any]], *, waits: bool
) -> Any:
    """What comes of it when the account is deactivated and that is not committed yet."""
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("UPDATE users SET is_active = false WHERE id = $1", studio.john.id)
        acting = asyncio.ensure_future(act())
        if waits:
            await waiting(studio.records, 1)
        else:
            await asyncio.wait([acting])
    await other.close()
    return (await asyncio.gather(acting, return_exceptions=True))[0]


@pytest.mark.parametrize("guarded", [True, False])
async def test_appointment_booked_during_deactivation_is_not_reserved(
    studio: Studio, database_url: str, guarded: bool
) -> None:
    book = studio.parts.appointment.book_appointment
    if not guarded:
        units = units_with(coaches=lambda session: UnheldCoaches(session, "INR"))
        given = studio.parts.open_work
        unheld = units(studio.parts.database, given._routes, studio.parts.use_cases.clock, lambda: None)  # type: ignore[attr-defined]
        book = replace(book, open_work=unheld)
    async with studio.parts.open_work() as work:
        client = await work.users.get(UserId(studio.ada.id))
    at = (datetime.now(UTC) + timedelta(days=3)).replace(hour=10, minute=0, second=0, microsecond=0)
    outcome = await while_deactivating(
        studio,
        database_url,
        lambda: book(client, UUID(studio.uuid), at, timedelta(hours=1), None),
        waits=guarded,
    )
    assert isinstance(outcome, CoachInactive) is guarded
    assert await studio.records.fetchval("SELECT count(*) FROM coaching_bookings") == (0 if guarded else 1)


async def test_event_created_during_deactivation_is_not_stored(studio: Studio, database_url: str) -> None:
    async with studio.parts.open_work() as work:
        john = await work.users.get(UserId(studio.john.id))
    starts = datetime.now(UTC) + timedelta(days=5)
    details = EventDetails("Yoga", Interval(starts, starts + timedelta(hours=1)), 5, Money.from_minor_units(0, "INR"))
    create: CreateEvent = studio.parts.use_cases.create_event
    outcome = await while_deactivating(studio, database_url, lambda: create(john, details), waits=True)
    assert isinstance(outcome, Unauthenticated)
    assert await studio.records.fetchval("SELECT count(*) FROM events") == 0


async def test_concurrent_bookings_and_deactivation_leave_no_booking(studio: Studio) -> None:
    event = await studio.john.creates_event(max_participants=60, price=30)
    users = await many_users(studio.records, 30)
    book = studio.parts.use_cases.book_seat

    async def deactivate_in_between() -> None:
        booked = "SELECT booked FROM events WHERE id = $1"
        while not await studio.records.fetchval(booked, event["id"]):  # noqa: ASYNC110 (of another connection)
            await asyncio.sleep(0.005)
        await studio.set_active(False)

    outcomes = await asyncio.gather(
        deactivate_in_between(),
        *(book(UserId(member.id), EventId(event["id"]), None) for member in users),
        return_exceptions=True,
    )
    assert len(outcomes) == 31
    assert await studio.records.fetchval("SELECT booked FROM events WHERE id = $1", event["id"]) == 0
    assert await broken_invariants(studio.records) == []


def _button(payment_url: str) -> str:
    return f"{httpx.URL(payment_url).path}/paid"


async def _apply_webhooks(studio: Studio) -> None:
    parts = container.build_deliveries(studio.parts.settings)
    await deliver_due(parts.deliver_due, "payments")  # type: ignore[arg-type]
    await parts.close()
