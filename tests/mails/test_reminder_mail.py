"""What reminders say, by mail and by an e-mail service."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.outbox import Delivered, Destination, Message, MessageType
from infrastructure.delivery.email_service import EmailServiceSender
from infrastructure.email.composer import MailComposer
from infrastructure.email.content import Unmailable
from servicekit.local_times import ahead
from tests.support.messages import a_coaching_message, a_message
from tests.support.receivers import receiving
from tests.support.standard_mail import received

COMPOSER = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org")
START = datetime(2026, 12, 1, 10, tzinfo=UTC)
"""Of the event and of the session in the messages of the tests."""
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def a_reminder(*, left: timedelta, **payload: Any) -> Message:
    message = a_message(MessageType.BOOKING_REMINDER, destination=Destination.EMAIL, **payload)
    return replace(message, payload=message.payload | {"as_of": (START - left).isoformat()})


def a_coaching_reminder(recipient: str, *, left: timedelta) -> Message:
    message = a_coaching_message(MessageType.BOOKING_REMINDER, recipient)
    return replace(message, payload=message.payload | {"as_of": (START - left).isoformat()})


def said(message: Message) -> tuple[str, str]:
    """Subject and text."""
    mail = received(COMPOSER.compose(message))
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    body = mail.get_body(("plain",))
    assert body is not None
    return str(mail["Subject"]), body.get_content()


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(seconds=10), "in a minute"),
        (20 * MINUTE, "in 20 minutes"),
        (54 * MINUTE, "in 54 minutes"),
        (HOUR - timedelta(seconds=5), "in an hour"),
        (65 * MINUTE, "in an hour"),
        (75 * MINUTE, "in 75 minutes"),
        (90 * MINUTE, "in 2 hours"),
        (5 * HOUR, "in 5 hours"),
        (timedelta(hours=19, minutes=59), "in 20 hours"),
        (20 * HOUR, "tomorrow"),
        (24 * HOUR, "tomorrow"),
        (34 * HOUR, "tomorrow"),
        (34 * HOUR + MINUTE, "in 2 days"),
        (timedelta(days=7), "in 7 days"),
    ],
)
def test_time_left_in_words(left: timedelta, words: str) -> None:
    assert ahead(START, START - left, ZoneInfo("UTC")) == words


@pytest.mark.parametrize(
    ("zone", "words"), [("UTC", "today"), ("Asia/Kolkata", "tomorrow"), ("America/Los_Angeles", "tomorrow")]
)
def test_day_is_that_of_the_reader_time_zone(zone: str, words: str) -> None:
    starts_at = datetime(2026, 12, 1, 22, tzinfo=UTC)
    assert ahead(starts_at, starts_at - 21 * HOUR, ZoneInfo(zone)) == words


@pytest.mark.parametrize(
    ("starts_at", "sent"),
    [
        # Clocks go back on 25 October 2026 and forward on 28 March 2027: a day on the wall has 25 hours, or 23.
        (datetime(2026, 10, 25, 10, tzinfo=BERLIN), "Saturday, 24 October 2026, 11:00"),
        (datetime(2027, 3, 28, 10, tzinfo=BERLIN), "Saturday, 27 March 2027, 09:00"),
    ],
)
def test_offset_is_elapsed_time_across_clock_changes(starts_at: datetime, sent: str) -> None:
    start = starts_at.astimezone(UTC)
    due = start - 24 * HOUR
    local = due.astimezone(BERLIN)
    assert f"{local:%A}, {local.day} {local:%B %Y, %H:%M}" == sent
    assert ahead(start, due, BERLIN) == "tomorrow"


def test_reminder_of_an_event() -> None:
    subject, text = said(a_reminder(left=24 * HOUR, user={"timezone": "Asia/Kolkata"}))
    assert subject == "Tomorrow: Morning Yoga"
    for line in (
        "Hello Ada Lovelace,",
        "Morning Yoga begins tomorrow. We look forward to seeing you.",
        "When: Tuesday, 1 December 2026, 15:30 to 17:00 Asia/Kolkata (UTC+05:30)",
        "With: John Facilitator",
    ):
        assert line in text.splitlines()
    assert "https://meet.example.com/abc" in text


def test_delayed_mail_states_the_time_left_now() -> None:
    assert said(a_reminder(left=3 * HOUR))[0] == "In 3 hours: Morning Yoga"


def test_reminder_of_an_unpaid_seat_states_the_deadline() -> None:
    booking = {"payment_status": "pending", "hold_until": "2026-12-01T09:30:00+00:00"}
    text = said(a_reminder(left=HOUR, booking=booking))[1]
    assert "Morning Yoga begins in an hour, and your place is held for you until the time below." in text
    assert "Pay by: Tuesday, 1 December 2026, 09:30 UTC" in text.splitlines()


@pytest.mark.parametrize(
    ("recipient", "subject", "sentence", "when"),
    [
        (
            "client",
            "In an hour: Coaching with Mira Sol",
            "Your session with Mira Sol begins in an hour.",
            "05:00 to 06:00 America/New_York (UTC-05:00)",
        ),
        (
            "coach",
            "In an hour: Coaching with Ada Lovelace",
            "Your session with Ada Lovelace begins in an hour.",
            "11:00 to 12:00 Europe/Berlin (UTC+01:00)",
        ),
    ],
)
def test_reminder_of_an_appointment_to_client_and_coach(recipient: str, subject: str, sentence: str, when: str) -> None:
    said_subject, text = said(a_coaching_reminder(recipient, left=HOUR))
    assert said_subject == subject
    assert sentence in text.splitlines()
    assert f"When: Tuesday, 1 December 2026, {when}" in text.splitlines()


def test_braces_in_a_title_are_not_expanded() -> None:
    assert said(a_reminder(left=HOUR, event={"title": "{title} {{7*7}}"}))[0] == "In an hour: {title} {{7*7}}"


def test_reminder_without_a_time_cannot_be_composed() -> None:
    for message in (a_message(MessageType.BOOKING_REMINDER), a_coaching_message(MessageType.BOOKING_REMINDER)):
        with pytest.raises(Unmailable):
            received(COMPOSER.compose(message))


async def test_email_service_gets_the_same_content() -> None:
    async with receiving() as service:
        sender = EmailServiceSender(COMPOSER, service.url, "token")
        outcomes = [
            await sender.deliver(message)
            for message in (a_reminder(left=24 * HOUR), a_coaching_reminder("coach", left=HOUR))
        ]
        await sender.close()
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert [(request.json["to"], request.json["subject"]) for request in service.requests] == [
        ("ada@example.com", "Tomorrow: Morning Yoga"),
        ("mira@example.com", "In an hour: Coaching with Ada Lovelace"),
    ]
    assert [request.json["attachments"] for request in service.requests] == [[], []]
