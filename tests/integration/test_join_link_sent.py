"""What leaves the system about an unpaid or cancelled seat is without the link to join: mails, their calendar entries
and what other services receive."""

import json

import pytest

from domain.outbox import Destination, MessageType
from infrastructure.delivery.crm_payload import to_payload
from tests.mails.test_mail_composed import COMPOSER
from tests.support.messages import a_message
from tests.support.standard_mail import received

LINK = "meet.example.com/abc"
BOOKINGS = [
    ("confirmed", "pending", False),
    ("confirmed", "failed", False),
    ("cancelled", "completed", False),
    ("confirmed", "completed", True),
    ("confirmed", "not_required", True),
]


@pytest.mark.parametrize(("status", "payment_status", "shown"), BOOKINGS)
@pytest.mark.parametrize(
    "message_type", [MessageType.BOOKING_CREATED, MessageType.BOOKING_MOVED, MessageType.PAYMENT_COMPLETED]
)
def test_only_mails_about_a_paid_or_free_seat_have_the_link(
    message_type: MessageType, status: str, payment_status: str, shown: bool
) -> None:
    money = {"amount": "30.50", "currency": "INR"} if message_type is MessageType.PAYMENT_COMPLETED else None
    message = a_message(
        message_type,
        destination=Destination.EMAIL,
        booking={"status": status, "payment_status": payment_status},
        money=money,
    )
    parts = [
        part.get_payload(decode=True) for part in received(COMPOSER.compose(message)).walk() if not part.is_multipart()
    ]
    assert len(parts) > 2
    assert [LINK.encode() in bytes(part).replace(b"\r\n ", b"") for part in parts if isinstance(part, bytes)] == [
        shown
    ] * len(parts)


@pytest.mark.parametrize(("status", "payment_status", "shown"), BOOKINGS)
def test_only_payloads_about_a_paid_or_free_seat_have_the_link(status: str, payment_status: str, shown: bool) -> None:
    payload = to_payload(a_message(booking={"status": status, "payment_status": payment_status}))
    assert (LINK in json.dumps(payload["event"], default=str)) is shown
    assert "virtual_link" in payload["event"]


def test_payload_of_an_event_has_the_link() -> None:
    assert LINK in to_payload(a_message(MessageType.EVENT_UPDATED, booking=None, user=None))["event"]["virtual_link"]
