"""The mail about a new series of appointments, as a mail program reads it."""

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from icalendar import Calendar

from domain.outbox import MessageType
from infrastructure.email.composer import MailComposer
from tests.support.messages import a_coaching_message
from tests.support.standard_mail import received

COMPOSER = MailComposer(
    mail_from="Convene <no-reply@convene.example>",
    public_url="https://book.example.org",
    booking_url_template="https://front.example/b/{reference}",
)
FIRST = datetime(2026, 12, 1, 10, tzinfo=UTC)
HELD = {"hold_until": "2026-11-20T13:38:10+00:00", "payment_status": "pending", "price": "1500.0000"}


def sessions(number: int, **changes: Any) -> list[dict[str, Any]]:
    usual = a_coaching_message(MessageType.BOOKING_CREATED).payload["coaching"] | changes
    return [
        usual
        | {
            "id": str(UUID(int=each)),
            "uid": f"coaching-{each}@book.example.org",
            "starts_at": (FIRST + each * timedelta(weeks=1)).isoformat(),
            "ends_at": (FIRST + each * timedelta(weeks=1, hours=0) + timedelta(hours=1)).isoformat(),
        }
        for each in range(number)
    ]


def mail_about(series: list[dict[str, Any]], recipient: str = "client", **more: Any) -> EmailMessage:
    payload: dict[str, Any] = {"coaching": series[0], "series": series} | more
    return received(COMPOSER.compose(a_coaching_message(MessageType.BOOKING_CREATED, recipient, **payload)))


def text(mail: EmailMessage, kind: str = "plain") -> str:
    body = mail.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content


@pytest.mark.parametrize("number", [2, 52])
@pytest.mark.parametrize("recipient", ["client", "coach"])
def test_one_calendar_file_has_an_entry_for_each_session(number: int, recipient: str) -> None:
    """Without attendees: a METHOD that has them is about one entry (RFC 5546, 3.2.2)."""
    mail = mail_about(sessions(number), recipient)
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    assert part["Content-Type"].params["method"] == "PUBLISH"
    [attachment] = mail.iter_attachments()
    assert attachment.get_filename() == "invite.ics"
    calendar = Calendar.from_ical(part.get_content())
    entries: list[Any] = list(calendar.walk("VEVENT"))
    assert calendar["METHOD"] == "PUBLISH"
    assert [entry["DTSTART"].dt for entry in entries] == [FIRST + each * timedelta(weeks=1) for each in range(number)]
    assert {entry["UID"] for entry in entries} == {f"coaching-{each}@book.example.org" for each in range(number)}
    assert {entry["SEQUENCE"] for entry in entries} == {0}
    assert not any("ATTENDEE" in entry for entry in entries)
    assert all("ORGANIZER" in entry for entry in entries)


@pytest.mark.parametrize(
    ("recipient", "changes", "subject", "sentence"),
    [
        ("client", {}, "Requested: Coaching with Mira Sol (3 sessions)", "asked Mira Sol for 3 sessions"),
        ("coach", {}, "New request: Coaching with Ada Lovelace (3 sessions)", "Ada Lovelace asks for 3 sessions"),
        ("client", HELD, "Please pay: Coaching with Mira Sol (3 sessions)", "The link to pay is where you booked."),
        ("coach", HELD, "New booking: Coaching with Ada Lovelace (3 sessions)", "has booked 3 sessions with you"),
    ],
)
def test_mail_lists_the_sessions(recipient: str, changes: dict[str, Any], subject: str, sentence: str) -> None:
    mail = mail_about(sessions(3, **changes), recipient)
    plain, html = text(mail), text(mail, "html")
    assert str(mail["Subject"]).translate({0x2068: None, 0x2069: None}) == subject
    assert sentence in plain.translate({0x2068: None, 0x2069: None})
    times = [line for line in plain.splitlines() if line.startswith("- ")]
    assert len(times) == 3
    assert all(time[2:] in html for time in times)
    assert ("Pay by" in plain, "Held until" in plain) == (
        recipient == "client" and changes is HELD,
        recipient == "coach" and changes is HELD,
    )


def test_client_gets_the_links_of_each_session_and_the_coach_none() -> None:
    series = sessions(2, **HELD)
    urls = {each["id"]: f"https://pay.example/{number}" for number, each in enumerate(series)}
    plain = text(mail_about(series, payment_urls=urls))
    for each in series:
        assert f"Pay now: {urls[each['id']]}" in plain
        assert f"View or cancel your booking: https://front.example/b/{each['id']}" in plain
    assert "where you booked" not in plain
    assert "https://front.example" not in text(mail_about(series, "coach"))


def test_payment_link_that_is_no_web_address_is_left_out() -> None:
    series = sessions(2, **HELD)
    plain = text(mail_about(series, payment_urls={series[0]["id"]: "javascript:alert(1)"}))
    assert "Pay now" not in plain
