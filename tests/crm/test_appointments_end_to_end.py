"""Messages about appointments from the API through the worker: mails over SMTP, the CRM over HTTP."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest
from icalendar import Calendar

from domain.outbox import Destination
from infrastructure import container
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.crm.parts import TOKEN, MailServer, connected
from tests.support.appointments import a_price_for, at, uuid_of, wanted
from tests.support.http import serving
from tests.support.messages import deliver_due
from tests.support.people import People, Person


@dataclass
class AppHarness:
    """A booking API, a worker that runs on demand, the CRM, and one mail server for both."""

    people: People
    api: httpx.AsyncClient
    crm: httpx.AsyncClient
    parts: container.DeliveryParts
    settings: Settings
    server: MailServer
    database: asyncpg.Connection

    async def run_worker(self) -> None:
        for destination in (Destination.PAYMENTS, Destination.EMAIL, Destination.CRM):
            await deliver_due(self.parts.deliver_due, destination)

    async def books(self, client: Person, coach: Person) -> dict[str, Any]:
        answer = await client.post("/booking", json=wanted(await uuid_of(coach), at(10), notes="Career"))
        assert answer.status_code == 201, answer.text
        booked: dict[str, Any] = answer.json()
        await self.run_worker()
        return booked

    async def presses(self, booked: dict[str, Any], button: str) -> None:
        page = booked["payment_url"].removeprefix(self.settings.public_url)
        assert (await self.api.post(f"{page}/{button}")).status_code == 303
        await self.run_worker()

    def mails(self, person: Person) -> list[EmailMessage]:
        """Without those of registrations."""
        theirs = [mail for mail in self.server.mails if mail["To"].addresses[0].addr_spec == person.email]
        return [mail for mail in theirs if not mail["Subject"].startswith("Please confirm your e-mail")]

    def subjects(self, person: Person) -> list[str]:
        return [mail["Subject"].partition(":")[0] for mail in self.mails(person)]


def lines(mail: EmailMessage) -> list[str]:
    body = mail.get_body(("plain",))
    assert body is not None
    content: str = body.get_content()
    return content.splitlines()


def entry(mail: EmailMessage) -> tuple[str, str, str, int]:
    """Method, UID, STATUS and SEQUENCE."""
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    calendar = Calendar.from_ical(part.get_content())
    [event] = calendar.walk("VEVENT")
    return str(calendar["METHOD"]), str(event["UID"]), str(event["STATUS"]), int(str(event["SEQUENCE"]))


@dataclass
class Services:
    """A booking API and the parts of a worker, which notify the CRM of the module."""

    settings: Settings
    parts: container.DeliveryParts
    api: httpx.AsyncClient


@pytest.fixture(scope="module")
async def services(
    make_shared_settings: Callable[..., Settings], _served_crm: httpx.AsyncClient, _shared_mail_server: MailServer
) -> AsyncIterator[Services]:
    settings = make_shared_settings(
        payment_provider="sandbox",
        smtp_url=_shared_mail_server.url,
        crm_service_url=str(_served_crm.base_url),
        crm_bearer_token=TOKEN,
    )
    parts = container.build_deliveries(settings)
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as api:
        yield Services(settings, parts, api)
    await parts.close()


@pytest.fixture
def harness(
    services: Services, crm: httpx.AsyncClient, mail_server: MailServer, emptied_database: asyncpg.Connection
) -> AppHarness:
    people = People(services.api, emptied_database)
    return AppHarness(people, services.api, crm, services.parts, services.settings, mail_server, emptied_database)


async def pair(harness: AppHarness) -> tuple[Person, Person]:
    """A client in New York and a coach in Berlin."""
    ada, mira = await harness.people.user(), await harness.people.facilitator("Mira Sol")
    assert (await ada.put("/profile", {"timezone": "America/New_York"})).json()["user"]["timezone"] == (
        "America/New_York"
    )
    assert (await mira.put("/profile", {"timezone": "Europe/Berlin"})).is_success
    return ada, mira


def when(booked: dict[str, Any], zone: str) -> str:
    starts = datetime.fromisoformat(booked["session_datetime"]).astimezone(ZoneInfo(zone))
    ends = datetime.fromisoformat(booked["end_datetime"]).astimezone(ZoneInfo(zone))
    offset = starts.isoformat()[-6:]
    return f"{starts:%A}, {starts.day} {starts:%B %Y, %H:%M} to {ends:%H:%M} {zone} (UTC{offset})"


async def test_client_and_coach_get_mails_from_request_to_end_of_an_appointment(harness: AppHarness) -> None:
    ada, mira = await pair(harness)
    booked = await harness.books(ada, mira)
    path = f"/booking/{booked['id']}"
    assert (await mira.patch(f"{path}/status", {"status": "confirmed"})).is_success
    moved = (await ada.post(f"{path}/reschedule", {"session_datetime": at(14).isoformat()})).json()
    assert (await ada.delete(path)).is_success
    await harness.run_worker()

    assert harness.subjects(ada) == ["Requested", "Confirmed", "Moved", "Booking cancelled"]
    assert harness.subjects(mira) == ["New request", "Confirmed", "Moved", "Booking cancelled"]
    for person, zone in ((ada, "America/New_York"), (mira, "Europe/Berlin")):
        created, _, rescheduled, _ = mails = harness.mails(person)
        assert f"When: {when(booked, zone)}" in lines(created)
        assert f"Was: {when(booked, zone)}" in lines(rescheduled)
        assert f"When: {when(moved, zone)}" in lines(rescheduled)
        entries = [entry(mail) for mail in mails]
        assert [method for method, _, _, _ in entries] == ["REQUEST", "REQUEST", "REQUEST", "CANCEL"]
        assert {uid.partition("@")[0] for _, uid, _, _ in entries} == {f"coaching-{booked['id']}"}
        assert len({uid for _, uid, _, _ in entries}) == 1
        assert [status for _, _, status, _ in entries] == ["TENTATIVE", "CONFIRMED", "CONFIRMED", "CANCELLED"]
        sequences = [sequence for _, _, _, sequence in entries]
        assert sequences == sorted(set(sequences))
    assert "as you asked" in " ".join(lines(harness.mails(ada)[-1]))
    assert "Ada Lovelace has cancelled" in " ".join(lines(harness.mails(mira)[-1]))


async def test_crm_stores_each_message_once_and_sends_no_mail(harness: AppHarness, crm_dsn: str) -> None:
    ada, mira = await pair(harness)
    booked = await harness.books(ada, mira)
    assert (await mira.patch(f"/booking/{booked['id']}/status", {"status": "confirmed"})).is_success
    await harness.run_worker()
    # A worker that dies after the CRM has taken a message sends it again.
    await harness.database.execute("UPDATE outbox SET status = 'pending', due_at = now() WHERE destination = 'crm'")
    await harness.run_worker()
    items = (await harness.crm.get("/notifications", params={"booking_id": booked["id"]})).json()
    assert [item["action"] for item in items] == ["booking_confirmed", "booking_created"]
    assert {item["status"] for item in items} == {"skipped"}
    assert {item["facilitator_id"] for item in items} == {mira.id}
    assert (await harness.crm.get(f"/api/facilitator/events/{mira.id}")).json() == []
    # What either of them has got is from the booking system.
    assert {str(mail["From"]) for mail in harness.server.mails} == {harness.settings.mail_from}
    async with connected(crm_dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM notifications WHERE attempts > 0") == 0


@pytest.mark.parametrize(("refusal", "status"), [("550 no such user", "dead"), ("452 mailbox full", "pending")])
async def test_rejected_mailbox_does_not_block_the_other_recipient(
    harness: AppHarness, refusal: str, status: str
) -> None:
    ada, mira = await pair(harness)
    harness.server.responses = {ada.email: refusal}
    booked = await harness.books(ada, mira)
    assert (await mira.patch(f"/booking/{booked['id']}/status", {"status": "confirmed"})).is_success
    await harness.run_worker()
    assert harness.subjects(mira) == ["New request", "Confirmed"]
    assert harness.subjects(ada) == []
    rows = await harness.database.fetch(
        "SELECT snapshot ->> 'recipient' AS who, status FROM outbox WHERE snapshot ->> 'recipient' <> ''"
    )
    assert {(row["who"], row["status"]) for row in rows} == {("client", status), ("coach", "delivered")}


async def test_payment_is_mailed_to_both_and_failed_payment_to_the_client_only(harness: AppHarness) -> None:
    ada, mira = await pair(harness)
    await a_price_for(harness.settings.database_url, await uuid_of(mira))
    booked = await harness.books(ada, mira)
    assert any(line.startswith("Pay by: ") and "America/New_York" in line for line in lines(harness.mails(ada)[0]))
    await harness.presses(booked, "declined")
    await harness.presses(booked, "paid")
    assert (await mira.patch(f"/booking/{booked['id']}/status", {"status": "cancelled"})).is_success
    for _ in range(2):
        await harness.run_worker()
    assert harness.subjects(ada) == ["Please pay", "Payment failed", "Receipt", "Cancelled", "Refund"]
    assert harness.subjects(mira) == ["New booking", "Paid", "Cancelled", "Refund"]
    assert await harness.database.fetchval("SELECT count(*) FROM outbox WHERE status = 'dead'") == 0
    failed, receipt = harness.mails(ada)[1:3]
    assert f"Pay now: {booked['payment_url']}" in lines(failed)
    assert "Paid: 1,500.00 INR" in lines(receipt)
    assert "Your session is confirmed." in " ".join(lines(receipt))
    assert entry(receipt)[2] == entry(harness.mails(mira)[1])[2] == "CONFIRMED"
    assert "Given back: 1,500.00 INR" in lines(harness.mails(ada)[-1])


async def test_unpaid_time_is_removed_from_both_calendars(harness: AppHarness) -> None:
    ada, mira = await pair(harness)
    await a_price_for(harness.settings.database_url, await uuid_of(mira))
    booked = await harness.books(ada, mira)
    await harness.database.execute("UPDATE coaching_bookings SET hold_until = $1", datetime.now(UTC))
    assert await harness.parts.expire_appointment_holds() == 1
    await harness.run_worker()
    assert harness.subjects(ada) == ["Please pay", "Booking ended"]
    assert harness.subjects(mira) == ["New booking", "Booking ended"]
    assert "Ada Lovelace did not pay in time" in " ".join(lines(harness.mails(mira)[-1]))
    assert {entry(harness.mails(person)[-1])[0] for person in (ada, mira)} == {"CANCEL"}
    [notification, _] = (await harness.crm.get("/notifications", params={"booking_id": booked["id"]})).json()
    assert notification["action"] == "booking_cancelled"


async def test_event_booking_mail_shows_the_time_zone_of_the_reader(harness: AppHarness) -> None:
    ada, mira = await pair(harness)
    event = await mira.creates_event(price=0)
    await ada.books(event["id"])
    await harness.run_worker()
    [mail] = harness.mails(ada)
    assert any(line.startswith("When: ") and "America/New_York (UTC-0" in line for line in lines(mail))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "America", "UTC+5"])
async def test_invalid_time_zone_is_rejected(people: People, zone: str) -> None:
    ada = await people.user()
    answer = await ada.put("/profile", {"timezone": zone})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["timezone"])
    assert (await ada.get("/profile")).json()["timezone"] is None


async def test_time_zone_stays_until_it_is_removed(people: People) -> None:
    ada = await people.user()
    await ada.put("/profile", {"timezone": "Asia/Kolkata"})
    await ada.put("/profile", {"name": "Ada King"})
    assert (await ada.get("/profile")).json()["timezone"] == "Asia/Kolkata"
    assert (await ada.put("/profile", {"timezone": ""})).json()["user"]["timezone"] is None
