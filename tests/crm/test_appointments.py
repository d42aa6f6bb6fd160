"""Messages about appointments: their ids are UUIDs, and the booking system mails their coach itself."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from crm.email.content import NotificationEmailWriter
from crm.migrations import downgrade, upgrade
from crm.notification_store import MailClaim
from crm.notifications import read_notification
from tests.crm.parts import MailServer, a_message, connected, running_crm, settings_for
from tests.support.standard_mail import received

SESSION = "019bb1c6-5a00-7000-8000-000000000001"
KEY = {"Idempotency-Key": "m-1"}


def a_session(**changes: Any) -> dict[str, Any]:
    event = a_message()["event"] | {"id": SESSION, "title": "Coaching with John Doe", "duration_minutes": 60}
    previous = {"start_datetime": "2026-11-30T09:00:00Z", "end_datetime": "2026-11-30T10:00:00Z"}
    payload = {
        "kind": "coaching",
        "booking_id": SESSION,
        "event": event,
        "previous": previous,
        "email_facilitator": False,
    }
    return a_message(booking_reference=..., **(payload | changes))


async def test_appointment_is_stored_once_and_not_mailed(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    answers = [await crm.post("/notify", json=a_session(), headers=KEY) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["notification_id"] for answer in answers] == [1, 1]
    assert [answer.json()["email_sent"] for answer in answers] == [False, False]
    [item] = (await crm.get("/notifications")).json()
    assert (item["booking_id"], item["facilitator_id"], item["status"]) == (SESSION, 2, "skipped")
    assert item["event_title"] == "Coaching with John Doe"
    assert item["response"] == "No email: the booking system writes to the facilitator itself"
    assert mail_server.offered == 0


async def test_seat_whose_facilitator_the_booking_system_mails_counts_as_sent(
    crm: httpx.AsyncClient, mail_server: MailServer
) -> None:
    """Document B shows `sent` for a mail to the facilitator."""
    answers = [await crm.post("/notify", json=a_message(email_facilitator=False), headers=KEY) for _ in range(2)]
    assert [answer.json()["email_sent"] for answer in answers] == [True, True]
    [item] = (await crm.get("/notifications")).json()
    assert (item["status"], item["response"]) == (
        "sent",
        "The booking system sends the email to facilitator@example.com",
    )
    assert item["sent_at"] is not None
    assert mail_server.offered == 0


async def test_without_email_facilitator_false_the_facilitator_is_mailed(
    crm: httpx.AsyncClient, mail_server: MailServer
) -> None:
    for words in ({"email_facilitator": True}, {"email_facilitator": ...}):
        assert (await crm.post("/notify", json=a_session(**words))).json()["email_sent"] is True
    assert len(mail_server.mails) == 2
    assert f"Reference:    {SESSION}" in mail_server.mails[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]


async def test_appointment_is_found_by_uuid_and_seat_by_number(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=a_session())
    await crm.post("/notify", json=a_message())
    for booking_id in (SESSION, SESSION.upper(), 12):
        [item] = (await crm.get("/notifications", params={"booking_id": booking_id})).json()
        assert str(item["booking_id"]) == str(booking_id).lower()
    assert (await crm.get("/notifications", params={"booking_id": str(uuid4())})).json() == []
    assert (await crm.get("/notifications", params={"booking_id": SESSION[:-1]})).status_code == 400
    assert (await crm.delete("/notifications/clear")).json()["deleted_count"] == 2


async def test_appointment_is_not_an_event_of_its_coach(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=a_session())
    assert (await crm.get("/api/facilitator/events/2")).json() == []
    await crm.post("/notify", json=a_message())
    assert [event["id"] for event in (await crm.get("/api/facilitator/events/2")).json()] == [1]


async def test_schema_without_appointments_is_migrated_with_its_rows(own_dsn: str, tmp_path: Any) -> None:
    await asyncio.to_thread(downgrade, own_dsn, "0002")
    async with connected(own_dsn) as connection:
        await connection.execute(
            "INSERT INTO notifications (body, status, booking_id) VALUES ($1, 'skipped', 12)", json.dumps(a_message())
        )
    await asyncio.to_thread(upgrade, own_dsn)
    async with running_crm(settings_for(own_dsn, CONVENE_DATA=str(tmp_path))) as client:
        assert [item["booking_id"] for item in (await client.get("/notifications")).json()] == [12]


@pytest.mark.parametrize(
    ("reason", "subject", "headline"),
    [
        ("payment_expired", "Booking ended", "Ada Lovelace did not pay in time for Morning Meditation"),
        ("by_person", "Booking cancelled", "Ada Lovelace cancelled their place in Morning Meditation."),
        (None, "Booking cancelled", "Ada Lovelace cancelled their place in Morning Meditation."),
    ],
)
def test_expired_unpaid_booking_is_not_reported_as_cancelled_by_the_user(
    reason: str | None, subject: str, headline: str
) -> None:
    notification = read_notification(a_message(action="booking_cancelled", reason=reason))
    claim = MailClaim(1, uuid4(), notification, datetime.now(UTC), "John", "john@example.com", 1)
    mail = received(NotificationEmailWriter("CRM <crm@example.com>").compose(claim))
    assert mail["Subject"] == f"{subject}: Ada Lovelace, Morning Meditation (1 Dec 2026, 09:00 UTC)"
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert headline in plain.get_content()
