"""An appointment that is paid in the sandbox, over HTTP. The rules are tested in `tests/application/`."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from domain.outbox import Destination
from infrastructure import container
from infrastructure.container import DeliveryParts
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.conftest import a_client
from tests.support.appointments import a_price_for, at, books, uuid_of
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


@pytest.fixture
async def appointment_harness(make_settings: Callable[..., Settings]) -> AsyncIterator[AppointmentHarness]:
    """Paid through the sandbox."""
    settings = make_settings(payment_provider="sandbox")
    worker = container.build_deliveries(settings)
    async with serving(create_app(settings)) as address, a_client(address) as api:
        people = People(api)
        guest, host = await people.user(), await people.facilitator()
        coach = await uuid_of(host)
        await a_price_for(settings.database_url, coach)
        yield AppointmentHarness(guest, host, coach, worker, settings.public_url)
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
