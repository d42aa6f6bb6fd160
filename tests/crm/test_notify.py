import httpx
import pytest

from tests.crm.parts import MailServer, a_message, connected


async def test_booking_is_stored_and_its_facilitator_mailed(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    answer = await crm.post("/notify", json=a_message(), headers={"Idempotency-Key": "m-1"})
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "success",
        "message": "Notification sent successfully",
        "notification_id": 1,
        "email_sent": True,
    }
    [mail] = mail_server.mails
    assert mail["To"] == "John Doe <facilitator@example.com>"
    assert mail["Reply-To"] == "Ada Lovelace <ada@example.com>"
    assert mail["Subject"].strip() == "New booking: Ada Lovelace for Morning Meditation (1 Dec 2026, 09:00 UTC)"
    plain, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None
    assert html is not None
    for text in ("Ada Lovelace booked a place in Morning Meditation.", "Tuesday, 1 December 2026, 09:00 to 10:00 UTC"):
        assert text in plain.get_content()
        assert text in html.get_content()
    for fact in ("BK2026000012", "3 of 10", "pending (INR 25)", "Studio A", "Ada Lovelace <ada@example.com>"):
        assert fact in plain.get_content()


async def test_contract_a_example(crm: httpx.AsyncClient) -> None:
    body = {
        "booking_id": 1,
        "user": {"id": 1, "name": "John Doe", "email": "john@example.com"},
        "event": {"id": 1, "title": "Morning Meditation Session", "date_time": "2023-07-15T09:00:00Z"},
        "facilitator_id": 1,
    }
    answer = await crm.post("/notify", json=body)
    assert answer.status_code == 200
    assert answer.json()["status"] == "success"
    assert answer.json()["message"] == "Booking notification received and processed"
    assert answer.json()["notification_id"] == 1
    [item] = (await crm.get("/notifications")).json()
    assert item["received_at"].endswith("Z")
    shown = {
        "id": 1,
        "booking_id": 1,
        "user_name": "John Doe",
        "user_email": "john@example.com",
        "event_title": "Morning Meditation Session",
        "event_date": "2023-07-15T09:00:00Z",
        "facilitator_id": 1,
        "processed": False,
    }
    assert {name: item[name] for name in shown} == shown


B_EXAMPLE = {
    "booking_id": 1,
    "user": {"name": "John Doe", "email": "john@example.com"},
    "event": {"title": "Yoga Session", "facilitator_id": 2},
    "action": "payment_completed",
}


async def test_contract_b_example_with_an_unknown_facilitator(crm: httpx.AsyncClient) -> None:
    answer = await crm.post("/notify", json=B_EXAMPLE)
    assert answer.status_code == 200
    assert answer.json()["message"] == "Notification sent successfully"
    assert answer.json()["email_sent"] is False
    [item] = (await crm.get("/notifications")).json()
    assert (item["status"], item["sent_at"], item["facilitator_id"]) == ("skipped", None, 2)
    assert "not known" in item["response"]


async def test_contract_b_example_with_a_known_facilitator(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    await crm.post("/notify", json=a_message())
    answer = await crm.post("/notify", json=B_EXAMPLE)
    assert answer.json()["email_sent"] is True
    assert mail_server.mails[-1]["To"] == "John Doe <facilitator@example.com>"
    newest = (await crm.get("/notifications")).json()[0]
    assert newest["status"] == "sent"
    assert newest["response"] == "Email sent successfully to facilitator@example.com"
    assert newest["sent_at"].endswith("Z")


async def test_older_message_does_not_restore_an_old_address(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    new, old = {"id": 2, "name": "J", "email": "new@example.com"}, {"id": 2, "name": "J", "email": "old@example.com"}
    await crm.post("/notify", json=a_message(occurred_at="2026-11-20T10:00:00Z", facilitator=new))
    await crm.post("/notify", json=a_message(occurred_at="2026-11-19T10:00:00Z", facilitator=old))
    await crm.post("/notify", json=a_message(facilitator=...))
    assert "new@example.com" in mail_server.mails[-1]["To"]


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ({"event": {"title": "Yoga"}}, ["booking_id", "user"]),
        ({"booking_id": 1, "user": None, "event": {}}, ["user"]),
        ({}, ["booking_id", "user", "event"]),
        ({"action": "event_cancelled"}, ["event", "facilitator_id"]),
        ({"action": "event_updated", "event": {"id": 1}}, ["facilitator_id"]),
    ],
)
async def test_missing_fields_are_named(crm: httpx.AsyncClient, body: dict[str, object], missing: list[str]) -> None:
    answer = await crm.post("/notify", json=body)
    assert answer.status_code == 400
    error = answer.json()
    assert error["error"] == "Missing required fields"
    assert error["missing_fields"] == missing
    assert error["code"] == "missing_fields"
    assert error["message"].endswith(", ".join(missing))
    assert error["request_id"] == answer.headers["x-request-id"]


async def test_message_about_an_event_needs_no_booking(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    body = a_message(action="event_cancelled", booking_id=..., user=..., booking_reference=..., payment_status=...)
    answer = await crm.post("/notify", json=body)
    assert answer.status_code == 200
    assert answer.json()["email_sent"] is True
    assert mail_server.mails[0]["Subject"].strip().startswith("Cancelled: Morning")
    assert mail_server.mails[0]["Reply-To"] is None
    assert (await crm.get("/notifications?include=events")).json()[0]["booking_id"] is None


async def test_booking_cancelled_with_its_event_is_stored_and_not_mailed(
    crm: httpx.AsyncClient, mail_server: MailServer
) -> None:
    fallen = a_message(action="booking_cancelled", reason="event_cancelled")
    answer = await crm.post("/notify", json=fallen)
    assert answer.status_code == 200
    assert answer.json()["email_sent"] is False
    assert (await crm.get("/notifications")).json()[0]["status"] == "skipped"
    assert (await crm.post("/notify", json=a_message(action="booking_cancelled"))).json()["email_sent"] is True
    assert len(mail_server.mails) == 1


async def test_unknown_fields_are_accepted_and_stored(crm: httpx.AsyncClient, crm_dsn: str) -> None:
    assert (await crm.post("/notify", json=a_message(colour={"of": ["the", "sky"]}))).status_code == 200
    async with connected(crm_dsn) as connection:
        assert await connection.fetchval("SELECT body #>> '{colour,of,1}' FROM notifications") == "sky"


async def test_without_a_key_each_call_is_stored(crm: httpx.AsyncClient) -> None:
    numbers = [(await crm.post("/notify", json=a_message())).json()["notification_id"] for _ in range(2)]
    assert numbers[0] != numbers[1]


async def test_invalid_address_is_stored_and_marked_failed(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    body = a_message(facilitator={"id": 2, "name": "J", "email": "not an address\r\nBcc: x@example.com"})
    answer = await crm.post("/notify", json=body)
    assert answer.status_code == 200
    assert answer.json()["email_sent"] is False
    [item] = (await crm.get("/notifications")).json()
    assert item["status"] == "failed"
    assert "no usable address" in item["response"]
    assert mail_server.offered == 0
