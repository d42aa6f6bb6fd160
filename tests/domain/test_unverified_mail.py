"""Mails to addresses that are not verified: what they omit, and which of those that were held are outdated."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.account_tokens import TOKEN_LIFETIME, TokenKind
from domain.outbox import Destination, Message, MessageId, MessageType
from domain.unverified_mail import BookedSession, outdated_reason, recipient_address, without_user_content

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
THEN = BookedSession(NOW + HOUR, NOW + 2 * HOUR, is_live=True, payment_status="not_required")
MOVED = replace(THEN, starts_at=NOW + 3 * HOUR, ends_at=NOW + 4 * HOUR)
OVER = replace(THEN, starts_at=NOW - HOUR, ends_at=NOW)
ENDED = replace(THEN, is_live=False)
OPEN, PAID = replace(THEN, payment_status="pending"), replace(THEN, payment_status="completed")


def message(message_type: MessageType, **payload: Any) -> Message:
    return Message(MessageId(UUID(int=1)), Destination.EMAIL, "key", message_type, payload, 1, NOW, None)


@pytest.mark.parametrize(
    ("message_type", "now", "expected"),
    [
        (MessageType.BOOKING_CREATED, THEN, None),
        (MessageType.BOOKING_CREATED, None, "it was deleted"),
        (MessageType.BOOKING_CREATED, OVER, "it is over"),
        (MessageType.BOOKING_CREATED, ENDED, "it has ended"),
        (MessageType.BOOKING_CREATED, MOVED, "its time has changed"),
        (MessageType.BOOKING_CREATED, OPEN, "its payment has changed"),
        (MessageType.BOOKING_CONFIRMED, PAID, None),
        (MessageType.BOOKING_MOVED, THEN, None),
        (MessageType.BOOKING_RESCHEDULED, MOVED, "its time has changed"),
        (MessageType.BOOKING_INVITATION, ENDED, "it has ended"),
        (MessageType.BOOKING_CANCELLED, ENDED, None),
        (MessageType.BOOKING_CANCELLED, replace(MOVED, is_live=False), None),
        (MessageType.BOOKING_CANCELLED, OVER, "it is over"),
        (MessageType.PARTICIPANT_MESSAGE, MOVED, None),
        (MessageType.PARTICIPANT_MESSAGE, ENDED, "it has ended"),
        (MessageType.PARTICIPANT_MESSAGE, OVER, "it is over"),
        (MessageType.PAYMENT_COMPLETED, OVER, None),
        (MessageType.BOOKING_REFUNDED, None, None),
        (MessageType.DISPUTE_LOST, OVER, None),
    ],
)
def test_held_mail_is_sent_if_it_is_still_current(
    message_type: MessageType, now: BookedSession | None, expected: str | None
) -> None:
    assert outdated_reason(message(message_type), THEN, now, NOW) == expected


@pytest.mark.parametrize("message_type", [MessageType.BOOKING_CREATED, MessageType.PAYMENT_FAILED])
def test_request_for_a_payment_is_outdated_when_it_is_paid(message_type: MessageType) -> None:
    assert outdated_reason(message(message_type), OPEN, PAID, NOW) == "its payment has changed"
    assert outdated_reason(message(message_type), OPEN, replace(OPEN, payment_status="failed"), NOW) is None


def test_mail_about_an_account_stays_current() -> None:
    assert outdated_reason(message(MessageType.PASSWORD_CHANGED), None, None, NOW + 1_000 * HOUR) is None


def test_link_for_a_new_password_is_current_as_long_as_it_would_be_valid() -> None:
    requested = message(MessageType.PASSWORD_RESET_REQUESTED)
    end = NOW + TOKEN_LIFETIME[TokenKind.RESET_PASSWORD]
    assert outdated_reason(requested, None, None, end - SECOND) is None
    assert outdated_reason(requested, None, None, end) == "it is too late"


def test_links_and_longer_texts_of_users_are_omitted() -> None:
    shown = without_user_content(
        {
            "event": {"title": "Yoga", "description": "See evil.example", "virtual_link": "https://evil.example"},
            "before": {"location": "Studio B", "virtual_link": "https://evil.example"},
            "booking": {"id": 7, "notes": "https://evil.example"},
            "coaching": {"notes": "Text", "meeting_link": "https://evil.example", "status": "pending"},
            "reason": None,
        }
    )
    assert "evil" not in repr(shown)
    assert shown["event"]["title"] == "Yoga"
    assert shown["before"]["location"] == "Studio B"
    assert (shown["booking"]["id"], shown["coaching"]["status"], shown["coaching"]["notes"]) == (7, "pending", None)


@pytest.mark.parametrize(
    "text",
    ["Win at evil.example", "HTTPS://evil", "evil。com", "write to a@evil.com", "192.0.2.1/x", "www.evil", "пример.рф"],
)
def test_titles_places_and_names_with_a_link_are_omitted(text: str) -> None:
    people = ["user", "client", "coach", "facilitator", "person", "invitation"]
    payload: dict[str, Any] = {part: {"name": text, "email": "victim@example.com"} for part in people}
    shown = without_user_content(payload | {"event": {"title": text, "location": text}})
    assert text not in repr(shown)
    assert shown["event"] == {"title": "an event", "location": None}
    assert shown["user"]["email"] == "victim@example.com"


def test_notes_and_links_of_a_series_are_omitted() -> None:
    series = [{"id": number, "notes": "Career", "meeting_link": "https://evil.example"} for number in range(2)]
    shown = without_user_content({"series": series})
    assert shown["series"] == [{"id": number, "notes": None, "meeting_link": None} for number in range(2)]


def test_person_without_a_name_has_the_address_as_name() -> None:
    person = {"name": "ada@example.com", "email": "ada@example.com"}
    assert without_user_content({"person": person})["person"] == person


@pytest.mark.parametrize("text", ["Yoga at 10.30", "Dr. Müller", "Level B1.2, e.g. for you", "7 a.m."])
def test_usual_titles_stay(text: str) -> None:
    assert without_user_content({"event": {"title": text, "location": None}})["event"]["title"] == text


@pytest.mark.parametrize(
    ("payload", "address"),
    [
        ({"user": {"email": "u"}, "event": {}}, "u"),
        ({"client": {"email": "c"}, "coach": {"email": "o"}, "recipient": "coach"}, "o"),
        ({"client": {"email": "c"}, "coach": {"email": "o"}, "recipient": "client"}, "c"),
        ({"user": None, "invitation": {"email": "i"}}, "i"),
        ({"person": {"email": "p"}}, "p"),
        ({"user": None}, None),
        ({}, None),
    ],
)
def test_recipient_of_a_mail(payload: dict[str, Any], address: str | None) -> None:
    assert recipient_address(payload) == address
