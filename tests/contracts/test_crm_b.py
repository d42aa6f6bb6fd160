"""Contract B on the CRM, endpoints 22 to 27, walked in the document's order."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.crm.parts import LOGIN, MailServer, a_message, running_crm, settings_for
from tests.support.shapes import misfits

BOOKING = {
    "booking_id": 1,
    "user": {"name": "John Doe", "email": "john@example.com"},
    "event": {"title": "Yoga Session", "facilitator_id": 2},
    "action": "payment_completed",
}
MAIL = {
    "to_email": "test@example.com",
    "subject": "Test Email",
    "html_content": "<h1>Test Email</h1><p>This is a test email.</p>",
}


def refused(sentence: str, code: str, **more: Any) -> dict[str, Any]:
    return {"error": sentence, "code": code, "request_id": str} | more


UNAUTHENTICATED = refused("Invalid or expired token", "invalid_token")
NOT_FOUND = refused("Resource not found", "not_found")


@pytest.fixture
async def enveloped(dsn: str, mail_server: MailServer, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The CRM as B's clients want it: in an envelope, with a mail server that asks for a login."""
    user, password = (quote(word) for word in LOGIN)
    smtp_url = f"smtp://{user}:{password}@127.0.0.1:{mail_server.port}"
    settings = settings_for(dsn, CONVENE_DATA=str(tmp_path), SMTP_URL=smtp_url, CRM_NOTIFICATIONS_SHAPE="envelope")
    async with running_crm(settings) as client:
        yield client


async def test_22_notification_is_mailed_to_the_facilitator(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    await crm.post("/notify", json=a_message())
    answer = await crm.post("/notify", json=BOOKING)
    assert answer.status_code == 200
    shape = {"message": "Notification sent successfully", "notification_id": 2, "email_sent": True}
    assert misfits(shape, answer.json()) == []
    assert mail_server.mails[-1]["Subject"] == "Paid: John Doe for Yoga Session"


async def test_22_missing_fields_are_named(crm: httpx.AsyncClient) -> None:
    answer = await crm.post("/notify", json={"event": BOOKING["event"], "action": "payment_completed"})
    expected = refused("Missing required fields", "missing_fields", missing_fields=[str])
    assert (answer.status_code, misfits(expected, answer.json())) == (400, [])
    assert answer.json()["missing_fields"] == ["booking_id", "user"]


async def test_23_notifications_are_in_an_envelope(enveloped: httpx.AsyncClient) -> None:
    await enveloped.post("/notify", json=a_message(booking_id=1))
    answer = await enveloped.get("/notifications")
    item = {
        "id": 1,
        "booking_id": 1,
        "status": "sent",
        "sent_at": str,
        "response": "Email sent successfully to facilitator@example.com",
    }
    assert (answer.status_code, misfits({"notifications": [item]}, answer.json())) == (200, [])
    assert len(answer.json()["notifications"]) == 1
    assert answer.json()["notifications"][0]["sent_at"].endswith("Z")


async def test_23_notifications_in_an_array_have_the_same_items(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=BOOKING)
    [item] = (await crm.get("/notifications")).json()
    assert misfits({"id": 1, "booking_id": 1, "status": "skipped", "sent_at": None, "response": str}, item) == []


async def test_24_notification_is_deleted(crm: httpx.AsyncClient) -> None:
    await crm.post("/notify", json=BOOKING)
    answer = await crm.delete("/notifications/1")
    assert (answer.status_code, answer.json()) == (200, {"message": "Notification deleted successfully"})
    assert (await crm.get("/notifications")).json() == []


@pytest.mark.parametrize("number", ["2", "0", "-1", "01", "abc", "9223372036854775808"])
async def test_24_unknown_notification_returns_404(crm: httpx.AsyncClient, number: str) -> None:
    await crm.post("/notify", json=BOOKING)
    answer = await crm.delete(f"/notifications/{number}")
    assert (answer.status_code, misfits(NOT_FOUND, answer.json())) == (404, [])
    assert len((await crm.get("/notifications")).json()) == 1


async def test_25_all_notifications_are_cleared(crm: httpx.AsyncClient) -> None:
    for number in range(1, 11):
        await crm.post("/notify", json=BOOKING | {"booking_id": number})
    answer = await crm.delete("/notifications/clear")
    assert answer.status_code == 200
    assert answer.json() == {"message": "All notifications cleared", "deleted_count": 10}
    assert (await crm.get("/notifications")).json() == []


async def test_26_test_email_is_sent(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    answer = await crm.post("/test-email", json=MAIL)
    assert answer.status_code == 200
    assert answer.json() == {"message": "Test email sent successfully", "email_sent": True}
    [mail] = mail_server.mails
    assert (mail["To"], mail["Subject"]) == (MAIL["to_email"], MAIL["subject"])
    assert mail.get_content().strip() == MAIL["html_content"]


async def test_26_missing_or_invalid_address_returns_400(crm: httpx.AsyncClient) -> None:
    answer = await crm.post("/test-email", json={"subject": "Test Email"})
    assert answer.status_code == 400
    assert answer.json()["missing_fields"] == ["to_email"]
    invalid = await crm.post("/test-email", json=MAIL | {"to_email": "nobody"})
    expected = refused("Validation error", "validation_error", details={"to_email": str})
    assert (invalid.status_code, misfits(expected, invalid.json())) == (400, [])


async def test_27_login_at_the_mail_server_is_tried(enveloped: httpx.AsyncClient) -> None:
    answer = await enveloped.get("/test-gmail-auth")
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "Gmail authentication successful",
        "authenticated": True,
        "gmail_user": LOGIN[0],
    }


async def test_27_missing_mail_server_names_the_setting(refusing_crm: httpx.AsyncClient) -> None:
    answer = await refusing_crm.get("/test-gmail-auth")
    assert answer.status_code == 503
    assert "SMTP_URL" in answer.json()["error"]


OWN = [
    ("DELETE", "/notifications/1"),
    ("DELETE", "/notifications/clear"),
    ("POST", "/test-email"),
    ("GET", "/test-gmail-auth"),
]


@pytest.mark.parametrize("authorization", [None, "Bearer wrong"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/notify"), ("GET", "/notifications"), *OWN])
async def test_missing_or_invalid_token_returns_401(
    refusing_crm: httpx.AsyncClient, method: str, path: str, authorization: str | None
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with httpx.AsyncClient(base_url=refusing_crm.base_url, headers=headers) as stranger:
        answer = await stranger.request(method, path)
    assert answer.status_code == 401
    # The first two are contract A's, too, where `error` is the status phrase.
    sentence = "Invalid or expired token" if (method, path) in OWN else "Unauthorized"
    assert misfits(UNAUTHENTICATED | {"error": sentence}, answer.json()) == []


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
