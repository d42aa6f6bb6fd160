"""Contract C's notification and e-mail services against servers that behave, and that do not."""

import asyncio
import base64
import hmac
import socket
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from icalendar import Calendar

from domain.outbox import Delivered, Destination, Failed, MessageType
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.delivery.email_service import EmailServiceSender
from infrastructure.delivery.http import MessageSender, endpoint
from infrastructure.delivery.notification_service import NotificationServiceSender
from infrastructure.email.composer import MailComposer
from tests.support.messages import a_message
from tests.support.receivers import Receiver, Request, answer, receiving

COMPOSER = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org")
Make = Callable[..., MessageSender]


def notifications(url: str, token: str = "a-token", **options: Any) -> MessageSender:
    return NotificationServiceSender(url, token, **options)


def email_service(url: str, token: str = "a-token", **options: Any) -> MessageSender:
    return EmailServiceSender(COMPOSER, url, token, **options)


both = pytest.mark.parametrize("make", [notifications, email_service])


@pytest.fixture
async def service() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def sent(service: Receiver, make: Make, message: Any, path: str = "") -> Request:
    sender = make(service.url + path)
    assert isinstance(await sender.deliver(message), Delivered)
    await sender.close()
    return service.requests[-1]


async def test_notification_has_a_type_and_the_crm_payload(service: Receiver) -> None:
    for message_type in (MessageType.BOOKING_CREATED, MessageType.BOOKING_CANCELLED, MessageType.PAYMENT_COMPLETED):
        message = a_message(message_type, destination=Destination.NOTIFICATION)
        request = await sent(service, notifications, message)
        assert (request.method, request.path) == ("POST", "/notify")
        assert (request.json["type"], request.json["booking_id"]) == (message_type, 12)
        assert request.json["facilitator_id"] == 9
        assert request.json["user"] == {"id": 3, "name": "Ada Lovelace", "email": "ada@example.com"}
        assert set(request.json) == {"type", *to_payload(message)}


async def test_notification_of_a_cancelled_event_has_no_user(service: Receiver) -> None:
    message = a_message(MessageType.EVENT_CANCELLED, destination=Destination.NOTIFICATION, booking=None, user=None)
    body = (await sent(service, notifications, message)).json
    assert (body["type"], body["event"]["id"], body["booking_id"], body["user"]) == ("event_cancelled", 7, None, None)


async def test_mail_is_sent_in_its_parts(service: Receiver) -> None:
    request = await sent(service, email_service, a_message(destination=Destination.EMAIL, user={"name": "Łukasz Ö"}))
    assert (request.method, request.path) == ("POST", "/send")
    body = request.json
    [attachment] = body.pop("attachments")
    text, html = body.pop("text"), body.pop("html")
    assert body == {
        "from": "Convene <no-reply@convene.example>",
        "to": "ada@example.com",
        "reply_to": "john@example.com",
        "subject": "You are booked: Morning Yoga",
        "message_id": f"<{a_message().id}@convene.example>",
    }
    assert "Łukasz Ö" in text
    assert "BK2026000012" in text
    assert "<html" in html.lower()
    assert "Łukasz Ö" in html
    assert (attachment["filename"], attachment["content_type"]) == ("invite.ics", "application/ics")
    invitation = base64.b64decode(attachment["content_base64"], validate=True)
    [entry] = Calendar.from_ical(invitation.decode()).walk("VEVENT")
    assert entry["SUMMARY"] == "Morning Yoga"


async def test_subject_in_many_scripts_is_unchanged(service: Receiver) -> None:
    title = "Étude № 3 — 朝のヨガ 🧘 " + "ä" * 60
    message = a_message(destination=Destination.EMAIL, event={"title": title})
    assert (await sent(service, email_service, message)).json["subject"] == f"You are booked: {title}"


@pytest.mark.parametrize(
    ("message_type", "payload"),
    [
        (MessageType.EVENT_UPDATED, {}),
        (MessageType.BOOKING_CREATED, {"user": {"email": "nobody"}}),
        (MessageType.BOOKING_CREATED, {"booking": None}),
    ],
)
async def test_message_that_cannot_be_mailed_is_not_sent(
    service: Receiver, message_type: MessageType, payload: dict[str, Any]
) -> None:
    sender = email_service(service.url)
    outcome = await sender.deliver(a_message(message_type, destination=Destination.EMAIL, **payload))
    await sender.close()
    assert isinstance(outcome, Failed)
    assert outcome.permanent
    assert service.requests == []


@both
async def test_headers_identify_sender_and_message(service: Receiver, make: Make) -> None:
    headers = (await sent(service, make, a_message())).headers
    assert headers["authorization"] == "Bearer a-token"
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == str(a_message().id)
    assert headers["x-request-id"] == "req-1"
    assert not any(name.startswith("webhook-") for name in headers)


@both
async def test_request_is_signed_if_there_is_a_secret(service: Receiver, make: Make) -> None:
    secret = b"s" * 32
    sender = make(service.url, signing_secrets=[f"whsec_{base64.b64encode(secret).decode()}"])
    await sender.deliver(a_message())
    await sender.close()
    [request] = service.requests
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"


@both
async def test_repeated_message_is_the_same_request(service: Receiver, make: Make) -> None:
    first, second = [await sent(service, make, a_message()) for _ in range(2)]
    assert (first.body, first.message_id) == (second.body, second.message_id)


@both
async def test_path_in_the_url_is_kept(service: Receiver, make: Make) -> None:
    assert (await sent(service, make, a_message(), "/v1/inbox?tenant=7")).path == "/v1/inbox?tenant=7"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://host:5002", "http://host:5002/notify"),
        ("http://host:5002/", "http://host:5002/notify"),
        ("https://host?key=1", "https://host/notify?key=1"),
        ("http://host/hooks/7", "http://host/hooks/7"),
        ("http://[::1]:5002", "http://[::1]:5002/notify"),
    ],
)
def test_url_without_a_path_gets_the_default_path(given: str, address: str) -> None:
    assert endpoint(given, "/notify") == address


@both
@pytest.mark.parametrize(("status", "permanent"), [(400, True), (401, True), (404, True), (408, False), (503, False)])
async def test_temporary_errors_are_retried_and_permanent_ones_are_not(
    service: Receiver, make: Make, status: int, permanent: bool
) -> None:
    service.always(answer(status, b"no", Retry_After="7"))
    sender = make(service.url)
    outcome = await sender.deliver(a_message())
    await sender.close()
    assert isinstance(outcome, Failed)
    assert (outcome.status_code, outcome.permanent) == (status, permanent)
    assert outcome.retry_after == timedelta(seconds=7)


@both
async def test_redirect_does_not_forward_the_token(service: Receiver, make: Make) -> None:
    async with receiving() as elsewhere:
        service.always(answer(307, b"", Location=elsewhere.url))
        sender = make(service.url)
        outcome = await sender.deliver(a_message())
        await sender.close()
    assert isinstance(outcome, Failed)
    assert not outcome.permanent
    assert elsewhere.requests == []


@both
async def test_service_without_an_answer_times_out(service: Receiver, make: Make) -> None:
    async def silence(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(3600)
        return b""

    service.behave = silence
    sender = make(service.url, seconds=0.3)
    assert await sender.deliver(a_message()) == Failed("no complete answer within 0.3 s", destination_fault=True)
    await sender.close()


@both
async def test_refused_connection_is_retried(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sender = make(f"http://127.0.0.1:{taken.getsockname()[1]}")
        outcome = await sender.deliver(a_message())
        await sender.close()
    assert isinstance(outcome, Failed)
    assert not outcome.permanent
