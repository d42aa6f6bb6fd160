"""Mails to facilitators of events whose address is not verified, and what the CRM is told instead."""

from email.message import EmailMessage
from typing import Any

import pytest

from domain.outbox import TO_FACILITATORS, Destination, MessageType, mails_facilitator
from domain.unverified_mail import recipient_address, without_user_content
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.email.content import Unmailable
from tests.mails.test_mail_composed import COMPOSER, composed, text_of
from tests.support.messages import a_message

MONEY = {"amount": 30.5, "currency": "INR"}
LINK = "https://evil.example"


def to_facilitator(message_type: MessageType, **payload: Any) -> EmailMessage:
    return composed(message_type, recipient="facilitator", money=MONEY, **payload)


def test_mail_about_a_booking_says_who_booked_what() -> None:
    mail = to_facilitator(MessageType.BOOKING_CREATED)
    text = text_of(mail, "plain").replace("\u2068", "").replace("\u2069", "")
    assert mail["To"] == "John Facilitator <john@example.com>"
    assert mail["Reply-To"] == "Ada Lovelace <ada@example.com>"
    assert mail["Subject"] == "New booking: Morning Yoga"
    assert "Ada Lovelace booked a place in Morning Yoga." in text
    for line in (
        "Booking: BK2026000012",
        "Price: 30.50 INR, paid",
        "Places taken: 4 of 15",
        "Their notes: Beginner level",
    ):
        assert line in text


@pytest.mark.parametrize("message_type", sorted(TO_FACILITATORS))
def test_every_change_that_facilitators_are_mailed_has_a_mail(message_type: MessageType) -> None:
    about_event = {"booking": None, "user": None} if message_type is MessageType.EVENT_CANCELLED else {}
    mail = to_facilitator(message_type, **about_event)
    assert "Morning Yoga" in str(mail["Subject"])
    assert "{" not in text_of(mail, "plain")


@pytest.mark.parametrize(
    ("reason", "words"),
    [("payment_expired", "did not pay in time"), ("by_organiser", "by the organiser"), (None, "cancelled their place")],
)
def test_mail_about_a_cancellation_says_why(reason: str | None, words: str) -> None:
    assert words in text_of(to_facilitator(MessageType.BOOKING_CANCELLED, reason=reason), "plain")


def test_other_changes_are_not_mailed_to_facilitators() -> None:
    with pytest.raises(Unmailable):
        to_facilitator(MessageType.BOOKING_MOVED)
    assert not mails_facilitator(MessageType.BOOKING_CANCELLED, "event_cancelled"), "one mail, about the event"
    assert mails_facilitator(MessageType.BOOKING_CANCELLED, "by_person")


def test_mail_has_no_links_and_notes_of_the_client() -> None:
    message = a_message(
        destination=Destination.EMAIL,
        recipient="facilitator",
        booking={"notes": LINK},
        user={"name": f"Win at {LINK}"},
        event={"title": LINK, "virtual_link": LINK, "description": LINK},
        verification="token",
    )
    assert recipient_address(message.payload) == "john@example.com"
    message.payload.update(without_user_content(message.payload))
    mail = COMPOSER.compose(message)
    assert "evil" not in f"{mail.subject} {mail.text} {mail.html} {mail.reply_to}"
    assert "https://book.example.org:8443/x/verify-email/token" in (mail.text or "")


def test_message_tells_the_crm_whether_it_mails_the_facilitator() -> None:
    usual = to_payload(a_message())
    assert "email_facilitator" not in usual
    assert "is_verified" not in usual["facilitator"], "an older message"
    verified = to_payload(a_message(facilitator={"is_verified": True, "mail_limited": False}))
    assert "email_facilitator" not in verified
    assert verified["facilitator"]["is_verified"] is True
    limited = to_payload(a_message(facilitator={"is_verified": False, "mail_limited": True}))
    assert limited["email_facilitator"] is False
    assert limited["facilitator"]["is_verified"] is False
    assert "mail_limited" not in limited["facilitator"]
