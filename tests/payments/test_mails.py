"""What the person who booked reads about money, and what their facilitator does."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from icalendar import Calendar

from crm.email.content import NotificationEmailWriter
from crm.notification_store import MailClaim
from crm.notifications import read_notification
from domain.outbox import Destination, MessageType
from infrastructure import container
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.delivery.http import _to_json
from infrastructure.email.composer import MailComposer
from infrastructure.settings import Settings
from tests.payments.gateway_harness import SandboxDeployment
from tests.support.messages import a_coaching_message, a_message, deliver_due
from tests.support.people import People, Person
from tests.support.standard_mail import received

COMPOSER = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org")


@dataclass
class AppHarness:
    """A booking API with the sandbox, and a worker that runs on demand."""

    people: People
    api: httpx.AsyncClient
    parts: container.DeliveryParts
    settings: Settings
    database: asyncpg.Connection

    async def books(self, person: Person, event: dict[str, Any]) -> tuple[int, str]:
        """The booking's id, and the page where it is paid."""
        answer = (await person.post("/bookings", json={"event_id": event["id"]})).json()
        return answer["booking"]["id"], answer["payment_url"].removeprefix(self.settings.public_url)

    async def presses(self, page: str, button: str) -> None:
        assert (await self.api.post(f"{page}/{button}")).status_code == 303
        await self.run_worker()

    async def run_worker(self) -> None:
        for destination in (Destination.PAYMENTS, Destination.EMAIL):
            await deliver_due(self.parts.deliver_due, destination)

    async def hold_ends(self, booking_id: int) -> None:
        await self.database.execute("UPDATE bookings SET hold_until = now() WHERE id = $1", booking_id)
        assert await self.parts.money.expire_holds() == 1
        await self.run_worker()

    def mails(self, person: Person) -> list[EmailMessage]:
        """The oldest first, without those of registrations."""
        files = (self.settings.convene_data / "mail").glob("*.eml")
        mails = [message_from_bytes(file.read_bytes(), policy=default) for file in files]
        theirs = [mail for mail in mails if mail["To"].addresses[0].addr_spec == person.email]
        theirs = [mail for mail in theirs if not mail["Subject"].startswith("Please confirm your e-mail")]
        return sorted(theirs, key=lambda mail: str(mail["Message-ID"]))  # a UUID that begins with the time


@pytest.fixture
async def harness(
    sandbox_deployment: SandboxDeployment, emptied_database: asyncpg.Connection
) -> AsyncIterator[AppHarness]:
    on = sandbox_deployment
    async with httpx.AsyncClient(base_url=on.address) as api:
        yield AppHarness(People(api), api, on.parts, on.settings, emptied_database)


def subjects(mails: list[EmailMessage]) -> list[str]:
    return [mail["Subject"] for mail in mails]


def lines(mail: EmailMessage, kind: str = "plain") -> list[str]:
    body = mail.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content.splitlines()


def words(mail: EmailMessage) -> str:
    return " ".join(lines(mail))


def entry(mail: EmailMessage) -> tuple[str, str, int]:
    """Method, UID and SEQUENCE of the calendar entry."""
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    calendar = Calendar.from_ical(part.get_content())
    [event] = calendar.walk("VEVENT")
    return str(calendar["METHOD"]), str(event["UID"]), int(str(event["SEQUENCE"]))


def entry_status(mail: EmailMessage) -> str:
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    [event] = Calendar.from_ical(part.get_content()).walk("VEVENT")
    return str(event["STATUS"])


def has_calendar(mail: EmailMessage) -> bool:
    return any(part.get_content_type() == "text/calendar" for part in mail.walk())


async def test_hold_mail_has_a_deadline_and_payment_has_a_receipt(harness: AppHarness) -> None:
    john, ada = await harness.people.facilitator(), await harness.people.user()
    booking_id, page = await harness.books(ada, await john.creates_event(price=19.99, currency="EUR"))
    await harness.run_worker()
    [held] = harness.mails(ada)
    until = await harness.database.fetchval("SELECT hold_until FROM bookings WHERE id = $1", booking_id)
    assert held["Subject"] == "Please pay: New Yoga Session"
    assert f"Pay by: {until:%A}, {until.day} {until:%B %Y, %H:%M} UTC" in lines(held)
    assert "Price: 19.99 EUR, to be paid" in lines(held)
    assert f"Pay now: {harness.settings.public_url}{page}" in lines(held)
    assert "where you booked" not in words(held)

    await harness.presses(page, "paid")
    receipt = harness.mails(ada)[1]
    assert receipt["Subject"] == "Receipt: New Yoga Session"
    reference = (await ada.get(f"/bookings/{booking_id}")).json()["booking_reference"]
    received = await harness.database.fetchrow("SELECT * FROM payments WHERE booking_id = $1", booking_id)
    assert received is not None
    paid_at = received["received_at"]
    for line in (
        f"Booking: {reference}",
        "Paid: 19.99 EUR",
        f"Paid on: {paid_at:%A}, {paid_at.day} {paid_at:%B %Y, %H:%M} UTC",
        f"Payment: {received['gateway_payment_id']} at the sandbox, where no money moves",
    ):
        assert line in lines(receipt)
        assert line.split(": ", 1)[1] in "\n".join(lines(receipt, "html"))
    assert not any(line.startswith("Pay by") for line in lines(receipt))
    # Tentative until it is paid; the change of STATUS has a new SEQUENCE (RFC 5546, 2.1.4).
    assert [entry_status(mail) for mail in (held, receipt)] == ["TENTATIVE", "CONFIRMED"]
    (_, uid, sequence), (_, same, later) = entry(held), entry(receipt)
    assert (same, later) == (uid, sequence + 1)


async def test_declined_payment_mail_links_to_the_same_page(harness: AppHarness) -> None:
    john, ada = await harness.people.facilitator(), await harness.people.user()
    _, page = await harness.books(ada, await john.creates_event())
    await harness.presses(page, "declined")
    failed = harness.mails(ada)[1]
    assert failed["Subject"] == "Payment failed: New Yoga Session"
    assert f"Pay now: {harness.settings.public_url}{page}" in lines(failed)
    assert f'href="{harness.settings.public_url}{page}"' in "".join(lines(failed, "html"))
    assert any(line.startswith("Pay by: ") for line in lines(failed))
    assert not has_calendar(failed)
    assert "calendar" not in words(failed)


async def test_late_payment_restores_the_calendar_entry(harness: AppHarness) -> None:
    john, ada = await harness.people.facilitator(), await harness.people.user()
    booking_id, page = await harness.books(ada, await john.creates_event())
    # The button is pressed before the hold ends; what it says arrives afterwards.
    assert (await harness.api.post(f"{page}/paid")).status_code == 303
    await harness.database.execute("UPDATE bookings SET hold_until = now() WHERE id = $1", booking_id)
    await harness.parts.money.expire_holds()
    await harness.run_worker()
    mails = harness.mails(ada)
    assert subjects(mails) == [f"{what}: New Yoga Session" for what in ("Please pay", "Booking ended", "Receipt")]
    assert "did not arrive in time" in words(mails[1])
    entries = [entry(mail) for mail in mails]
    assert [method for method, _, _ in entries] == ["REQUEST", "CANCEL", "REQUEST"]
    assert len({uid for _, uid, _ in entries}) == 1
    sequences = [sequence for _, _, sequence in entries]
    assert sequences == sorted(set(sequences))


async def test_payment_without_a_free_seat_is_explained_and_refunded(harness: AppHarness) -> None:
    john, ada, bela = await harness.people.facilitator(), await harness.people.user(), await harness.people.user("Bela")
    event = await john.creates_event(max_participants=1)
    booking_id, page = await harness.books(ada, event)
    assert (await harness.api.post(f"{page}/paid")).status_code == 303
    await harness.database.execute("UPDATE bookings SET hold_until = now() WHERE id = $1", booking_id)
    await harness.parts.money.expire_holds()
    await harness.books(bela, event)
    await harness.run_worker()
    await harness.run_worker()
    refund = harness.mails(ada)[-1]
    assert refund["Subject"] == "Refund: New Yoga Session"
    assert "your place had been given up and none could be had any more" in words(refund)
    assert "Given back: 30.00 INR" in lines(refund)
    assert "bank" in words(refund)
    assert not has_calendar(refund)


async def test_cancellation_mail_states_the_refund(harness: AppHarness) -> None:
    john, ada = await harness.people.facilitator(), await harness.people.user()
    event = await john.creates_event(refund_policy=[{"hours_before": 24, "percent": 50}])
    booking_id, page = await harness.books(ada, event)
    await harness.presses(page, "paid")
    assert (await ada.post(f"/bookings/{booking_id}/cancel")).status_code == 200
    await harness.run_worker()
    await harness.run_worker()
    *_, cancelled, refund = harness.mails(ada)
    assert "as you asked" in words(cancelled)
    assert "was cancelled. We have refunded 15.00 INR." in words(refund)
    assert "Given back: 15.00 INR" in lines(refund)


async def test_cancelled_event_mail_states_the_full_refund_and_reason(harness: AppHarness) -> None:
    john, ada = await harness.people.facilitator(), await harness.people.user()
    event = await john.creates_event()
    _, page = await harness.books(ada, event)
    await harness.presses(page, "paid")
    assert (await john.post(f"/facilitator/events/{event['id']}/cancel")).status_code == 200
    await harness.run_worker()
    await harness.run_worker()
    *_, cancelled, refund = harness.mails(ada)
    assert cancelled["Subject"] == "Cancelled: New Yoga Session"
    assert "New Yoga Session will not take place. We have refunded 30.00 INR, the full amount you paid" in words(refund)


async def test_offline_payment_is_returned_by_the_facilitator(harness: AppHarness) -> None:
    john, ada = await harness.people.facilitator("Mira Sol"), await harness.people.user()
    booking_id, _ = await harness.books(ada, await john.creates_event())
    assert (await john.post(f"/facilitator/bookings/{booking_id}/payment")).status_code == 200
    await ada.post(f"/bookings/{booking_id}/cancel")
    await harness.run_worker()
    await harness.run_worker()
    mails = harness.mails(ada)
    [receipt] = [mail for mail in mails if mail["Subject"].startswith("Receipt")]
    assert "Paid: 30.00 INR, on the spot" in lines(receipt)
    assert "Mira Sol hands the money back to you" in words(mails[-1])
    assert "bank" not in words(mails[-1])


async def test_offline_booking_mail_mentions_no_hold(harness: AppHarness) -> None:
    mail = received(COMPOSER.compose(a_message(destination=Destination.EMAIL, booking={"hold_until": None})))
    assert mail["Subject"] == "You are booked: Morning Yoga"
    assert "Pay by" not in words(mail)


MONEY: dict[str, Any] = {"money": {"amount": "15.250", "currency": "KWD"}}


def facilitators_mail(message_type: MessageType, **payload: Any) -> EmailMessage:
    """The mail of the CRM for a message."""
    body = json.loads(_to_json(to_payload(a_message(message_type, **payload))))
    notification = read_notification(body)
    claim = MailClaim(1, uuid4(), notification, datetime.now(UTC), "John", "john@example.com", 1)
    return received(NotificationEmailWriter("CRM <crm@example.com>").compose(claim))


@pytest.mark.parametrize(
    ("message_type", "subject", "amount"),
    [
        (MessageType.PAYMENT_COMPLETED, "Paid: Ada Lovelace for Morning Yoga", "Received:     KWD 15.25"),
        (MessageType.PAYMENT_FAILED, "Not paid yet: Ada Lovelace for Morning Yoga", "Asked for:    KWD 15.25"),
        (MessageType.BOOKING_REFUNDED, "Refunded: Ada Lovelace, Morning Yoga", "Given back:   KWD 15.25"),
    ],
)
def test_mail_to_the_facilitator_states_the_amount(message_type: MessageType, subject: str, amount: str) -> None:
    mail = facilitators_mail(message_type, **MONEY)
    assert mail["Subject"] == f"{subject} (1 Dec 2026, 10:00 UTC)"
    assert amount in lines(mail)


def test_crm_payload_has_action_and_amount_and_no_payment_link() -> None:
    url = "https://pay.example/secret"
    payment = {"gateway": "stripe", "id": "pi_1", "received_at": None, "url": url}
    body = to_payload(a_message(MessageType.PAYMENT_FAILED, payment=payment, **MONEY))
    assert body["action"] == "payment_failed"
    assert json.loads(_to_json(body))["amount"] == 15.25
    assert body["currency"] == "KWD"
    assert url not in str(body)


PENDING = {"payment_status": "pending"}
AGREED = {
    "booking": PENDING | {"price": "10.0000", "currency": "EUR"},
    "event": {"price": "50.0000", "currency": "EUR"},
}


@pytest.mark.parametrize("agreed", [True, False], ids=["agreed", "from before"])
def test_every_mail_shows_the_agreed_price(agreed: bool) -> None:
    about: dict[str, Any] = AGREED if agreed else {"booking": PENDING, "event": AGREED["event"]}
    price = 10 if agreed else 50
    mail = received(COMPOSER.compose(a_message(MessageType.BOOKING_MOVED, destination=Destination.EMAIL, **about)))
    assert f"Price: {price}.00 EUR, to be paid" in lines(mail)
    assert f"Payment:      pending (EUR {price})" in lines(facilitators_mail(MessageType.BOOKING_CREATED, **about))


FULL_REFUND = "you can cancel before the start and receive a full refund"


@pytest.mark.parametrize(
    ("reason", "price", "offered"), [("rescheduled", "10", True), ("rescheduled", "0", False), (None, "10", False)]
)
def test_mail_about_a_new_time_or_location_offers_a_full_refund(reason: str | None, price: str, offered: bool) -> None:
    booking = {"price": price, "currency": "EUR"}
    mail = received(
        COMPOSER.compose(
            a_message(MessageType.BOOKING_MOVED, destination=Destination.EMAIL, booking=booking, reason=reason)
        )
    )
    assert (FULL_REFUND in words(mail)) == offered


def test_mail_about_rescheduling_by_the_coach_offers_a_full_refund() -> None:
    for reason, offered in (("by_coach", True), (None, False)):
        message = a_coaching_message(MessageType.BOOKING_RESCHEDULED, coaching={"price": "80"}, reason=reason)
        assert (FULL_REFUND in words(received(COMPOSER.compose(message)))) == offered


def test_mail_about_cancellation_by_the_organiser_says_so() -> None:
    cancelled = {"booking": {"status": "cancelled"}, "reason": "by_organiser"}
    mail = received(
        COMPOSER.compose(a_message(MessageType.BOOKING_CANCELLED, destination=Destination.EMAIL, **cancelled))
    )
    assert "The organiser has cancelled your booking of Morning Yoga" in words(mail)
    assert "as you asked" not in words(mail)
    facilitator_mail = words(facilitators_mail(MessageType.BOOKING_CANCELLED, **cancelled))
    assert "The booking of Ada Lovelace for Morning Yoga was cancelled by the organiser." in facilitator_mail


@pytest.mark.parametrize(
    ("cancelled_at", "sentence"),
    [("2026-12-01T09:59:59Z", "You are welcome to book anew"), ("2026-12-01T10:00:00Z", "we refund it in full")],
)
def test_mail_about_a_hold_ended_at_the_start_invites_to_no_new_booking(cancelled_at: str, sentence: str) -> None:
    booking = {"status": "cancelled", "cancelled_at": cancelled_at}
    mail = received(
        COMPOSER.compose(
            a_message(
                MessageType.BOOKING_CANCELLED, destination=Destination.EMAIL, booking=booking, reason="payment_expired"
            )
        )
    )
    assert sentence in words(mail)


async def test_expired_hold_is_mailed_once(harness: AppHarness) -> None:
    john, ada = await harness.people.facilitator(), await harness.people.user()
    booking_id, _ = await harness.books(ada, await john.creates_event())
    await harness.hold_ends(booking_id)
    await harness.run_worker()
    assert subjects(harness.mails(ada)) == ["Please pay: New Yoga Session", "Booking ended: New Yoga Session"]
