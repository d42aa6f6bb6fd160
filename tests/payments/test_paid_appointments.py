"""Sessions that cost something, as client and coach see them: held, paid, given up, given back."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from domain.outbox import Destination
from infrastructure import container
from infrastructure.container import DeliveryParts
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.conftest import a_client
from tests.support.appointments import a_price_for, at, books, uuid_of, wanted
from tests.support.http import serving
from tests.support.messages import deliver_due
from tests.support.people import People, Person
from tests.support.shapes import Instant, Uuid, misfits


@dataclass
class AppointmentHarness:
    """A coach who takes 1500 an hour, a client, and the worker."""

    guest: Person
    host: Person
    coach: str
    worker: DeliveryParts
    public_url: str

    async def books(self, hour: int = 10, **changes: Any) -> dict[str, Any]:
        return await books(self.guest, self.coach, at(hour), **changes)

    async def shows(self, booking: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = (await self.guest.get(f"/booking/{booking['id']}")).json()
        return body

    async def history(self, booking: dict[str, Any]) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = (await self.guest.get(f"/booking/{booking['id']}/history")).json()["history"]
        return entries

    async def pays(self, url: str, button: str = "paid") -> None:
        answer = await self.guest.api.post(f"{url.removeprefix(self.public_url)}/{button}")
        assert answer.status_code == 303, answer.text
        await self.runs()

    async def runs(self) -> None:
        """Runs payment jobs until none is due."""
        for _ in range(3):
            await deliver_due(self.worker.deliver_due, Destination.PAYMENTS)


async def _opened(api: httpx.AsyncClient, worker: DeliveryParts, settings: Settings) -> AppointmentHarness:
    people = People(api)
    guest, host = await people.user(), await people.facilitator()
    coach = await uuid_of(host)
    await a_price_for(settings.database_url, coach)
    return AppointmentHarness(guest, host, coach, worker, settings.public_url)


@pytest.fixture
async def appointment_harness(make_settings: Callable[..., Settings]) -> AsyncIterator[AppointmentHarness]:
    """Paid through the sandbox."""
    settings = make_settings(payment_provider="sandbox")
    worker = container.build_deliveries(settings)
    async with serving(create_app(settings)) as address, a_client(address) as api:
        yield await _opened(api, worker, settings)
    await worker.close()


@pytest.fixture
async def cash(make_settings: Callable[..., Settings]) -> AsyncIterator[AppointmentHarness]:
    """Paid on the spot."""
    settings = make_settings()
    worker = container.build_deliveries(settings)
    async with serving(create_app(settings)) as address, a_client(address) as api:
        yield await _opened(api, worker, settings)
    await worker.close()


def changes(history: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(entry["change"], entry["changed_by_name"]) for entry in history]


async def test_appointment_is_held_until_its_payment_confirms_it(appointment_harness: AppointmentHarness) -> None:
    booking = await appointment_harness.books(minutes=90)
    assert not misfits(
        {"payment_url": str, "hold_until": Instant, "price": 2250.0, "currency": "INR", "payment_id": None}, booking
    )
    assert (booking["status"], booking["payment_status"]) == ("pending", "pending")
    path = f"/booking/{booking['id']}"
    for _ in range(2):
        again = await appointment_harness.guest.post(f"{path}/pay")
        assert (again.status_code, again.json()) == (200, {"payment_url": booking["payment_url"]})
    refused = await appointment_harness.host.patch(f"{path}/status", {"status": "confirmed"})
    assert (refused.status_code, refused.json()["detail"]) == (400, "This booking is confirmed by its payment")

    await appointment_harness.pays(booking["payment_url"])
    paid = await appointment_harness.shows(booking)
    assert not misfits(
        {"status": "confirmed", "payment_status": "completed", "payment_id": Uuid, "hold_until": None}, paid
    )
    assert paid["sequence"] == booking["sequence"] + 1
    refused = await appointment_harness.guest.post(f"{path}/pay")
    assert (refused.status_code, refused.json()["code"]) == (400, "nothing_to_pay")
    assert changes(await appointment_harness.history(booking)) == [
        ("created", appointment_harness.guest.name),
        ("paid", None),
    ]


async def test_declined_payment_can_be_retried(appointment_harness: AppointmentHarness) -> None:
    booking = await appointment_harness.books()
    await appointment_harness.pays(booking["payment_url"], "declined")
    declined = await appointment_harness.shows(booking)
    assert (declined["status"], declined["payment_status"]) == ("pending", "failed")
    answer = await appointment_harness.guest.post(f"/booking/{booking['id']}/pay")
    await appointment_harness.pays(answer.json()["payment_url"])
    assert (await appointment_harness.shows(booking))["status"] == "confirmed"
    history = await appointment_harness.history(booking)
    assert changes(history)[1:] == [("payment_failed", None), ("paid", None)]
    assert (history[1]["before"], history[1]["after"]) == ({"payment_status": "pending"}, {"payment_status": "failed"})


async def test_each_appointment_of_a_series_has_its_payment_link(appointment_harness: AppointmentHarness) -> None:
    body = wanted(appointment_harness.coach, at(10)) | {"rrule": "FREQ=DAILY;COUNT=3"}
    answer = await appointment_harness.guest.post("/booking/recurring", json=body)
    sessions = answer.json()["bookings"]
    links = [each["payment_url"] for each in sessions]
    assert len({link for link in links if link}) == 3
    for each, link in zip(sessions, links, strict=True):
        assert (await appointment_harness.guest.post(f"/booking/{each['id']}/pay")).json() == {"payment_url": link}
    await appointment_harness.pays(links[1])
    assert [(await appointment_harness.shows(each))["status"] for each in sessions] == [
        "pending",
        "confirmed",
        "pending",
    ]


async def test_unpaid_appointment_expires(
    appointment_harness: AppointmentHarness, database: asyncpg.Connection
) -> None:
    booking = await appointment_harness.books()
    expire = appointment_harness.worker.appointment.expire_appointment_holds
    assert await expire() == 0
    await database.execute("UPDATE coaching_bookings SET hold_until = now() - interval '1 second'")
    assert await expire() == 1
    assert await expire() == 0
    expired = await appointment_harness.shows(booking)
    assert (expired["status"], expired["payment_status"], expired["hold_until"]) == ("cancelled", "pending", None)
    [_, entry] = await appointment_harness.history(booking)
    assert (entry["change"], entry["changed_by"], entry["changed_by_name"]) == ("cancelled", None, None)
    assert entry["before"] == {"status": "pending", "cancel_reason": None}
    assert entry["after"] == {"status": "cancelled", "cancel_reason": "payment_expired"}
    await appointment_harness.books()


async def test_hold_ends_at_the_latest_at_the_start(appointment_harness: AppointmentHarness) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=10)).replace(microsecond=0)
    booking = await books(appointment_harness.guest, appointment_harness.coach, soon)
    assert booking["hold_until"] == booking["session_datetime"]
    later = await appointment_harness.books()
    move = f"/booking/{later['id']}/reschedule"
    moved = await appointment_harness.guest.post(
        move, json={"session_datetime": (soon + timedelta(hours=2)).isoformat()}
    )
    assert moved.json()["hold_until"] == later["hold_until"]
    assert (await appointment_harness.guest.delete(f"/booking/{booking['id']}")).status_code == 204
    moved = await appointment_harness.guest.post(move, json={"session_datetime": soon.isoformat()})
    assert moved.json()["hold_until"] == booking["hold_until"]


@pytest.mark.parametrize(("by_coach", "given_back"), [(True, 1500), (False, 0)])
async def test_refund_of_a_cancelled_appointment_depends_on_who_cancels(
    appointment_harness: AppointmentHarness, database: asyncpg.Connection, by_coach: bool, given_back: int
) -> None:
    """Everything when it is the coach; what their policy says, here nothing, when it is the client."""
    await database.execute("""UPDATE coaches SET refund_policy = '[[0, 0]]'""")
    booking = await appointment_harness.books()
    await appointment_harness.pays(booking["payment_url"])
    person = appointment_harness.host if by_coach else appointment_harness.guest
    assert (await person.delete(f"/booking/{booking['id']}")).status_code == 204
    await appointment_harness.runs()
    shown = await appointment_harness.shows(booking)
    assert (shown["status"], shown["payment_status"]) == ("cancelled", "refunded" if by_coach else "completed")
    assert await database.fetchval("SELECT coalesce(sum(amount), 0)::int FROM refunds") == given_back
    assert changes(await appointment_harness.history(booking))[-1] == ("cancelled", person.name)


async def test_coach_records_an_offline_payment_once(cash: AppointmentHarness, database: asyncpg.Connection) -> None:
    booking = await cash.books()
    assert (booking["payment_url"], booking["hold_until"], booking["payment_status"]) == (None, None, "pending")
    path = f"/booking/{booking['id']}"
    assert (await cash.guest.post(f"{path}/pay")).json() == {"payment_url": None}
    for _ in range(2):
        answer = await cash.host.post(f"{path}/payment")
        assert answer.status_code == 200
        assert not misfits({"status": "confirmed", "payment_status": "completed", "payment_id": Uuid}, answer.json())
    assert changes(await cash.history(booking)) == [("created", cash.guest.name), ("paid", cash.host.name)]
    messages = await database.fetch("SELECT fact FROM outbox WHERE destination = 'crm' ORDER BY id")
    assert [row["fact"] for row in messages] == ["booking_created", "payment_completed"]


async def test_coach_can_confirm_before_an_offline_payment(cash: AppointmentHarness) -> None:
    booking = await cash.books()
    path = f"/booking/{booking['id']}"
    answer = await cash.host.patch(f"{path}/status", {"status": "confirmed"})
    assert (answer.json()["status"], answer.json()["payment_status"]) == ("confirmed", "pending")
    assert (await cash.host.post(f"{path}/payment")).json()["payment_status"] == "completed"


async def test_cancelled_appointment_has_nothing_to_pay(cash: AppointmentHarness) -> None:
    booking = await cash.books()
    path = f"/booking/{booking['id']}"
    await cash.guest.delete(path)
    answer = await cash.host.post(f"{path}/payment")
    assert (answer.status_code, answer.json()["detail"]) == (400, "Booking is cancelled")
    answer = await cash.guest.post(f"{path}/pay")
    assert (answer.status_code, answer.json()["code"]) == (400, "nothing_to_pay")


async def test_offline_payment_while_a_checkout_is_open(appointment_harness: AppointmentHarness) -> None:
    booking = await appointment_harness.books()
    answer = await appointment_harness.host.post(f"/booking/{booking['id']}/payment")
    assert (answer.status_code, answer.json()["status"], answer.json()["hold_until"]) == (200, "confirmed", None)
    await appointment_harness.runs()
    assert (await appointment_harness.shows(booking))["payment_status"] == "completed"
