"""The mail to the person who booked, read back as a mail program reads it."""

from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from icalendar import Calendar, Component

from domain.outbox import Destination, Failed, Message, MessageType
from infrastructure.email.composer import EmailSender, MailComposer
from infrastructure.email.content import Unmailable
from servicekit.local_times import when
from servicekit.mail_transport import FileTransport
from tests.support.messages import a_coaching_message, a_message
from tests.support.standard_mail import received

COMPOSER = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org:8443/x")


def composed(message_type: MessageType = MessageType.BOOKING_CREATED, **payload: Any) -> EmailMessage:
    message: Message = a_message(message_type, destination=Destination.EMAIL, **payload)
    return received(COMPOSER.compose(message))


def text_of(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content


def calendar_of(mail: EmailMessage) -> tuple[Calendar, Component]:
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    calendar = Calendar.from_ical(part.get_content())
    [entry] = calendar.walk("VEVENT")
    assert part["Content-Type"].params["method"] == calendar["METHOD"]
    return calendar, entry


def test_headers_name_sender_recipient_and_message() -> None:
    mail = composed()
    assert mail["From"] == "Convene <no-reply@convene.example>"
    assert mail["To"] == "Ada Lovelace <ada@example.com>"
    assert mail["Reply-To"] == "John Facilitator <john@example.com>"
    assert mail["Subject"] == "You are booked: Morning Yoga"
    assert mail["Message-ID"] == f"<{a_message().id}@convene.example>"
    assert mail["Date"].datetime == datetime(2026, 11, 20, 13, 8, 10, tzinfo=UTC)
    assert mail["Auto-Submitted"] == "auto-generated"


def test_mail_has_text_html_invitation_and_the_invitation_as_attachment() -> None:
    mail = composed()
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/calendar",
        "application/ics",
    ]
    [attachment] = mail.iter_attachments()
    assert attachment.get_filename() == "invite.ics"
    assert Calendar.from_ical(attachment.get_content()) == calendar_of(mail)[0]
    assert bytes(mail).isascii()


def test_text_states_time_location_facilitator_and_price() -> None:
    lines = text_of(composed(), "plain").splitlines()
    for line in (
        "Hello Ada Lovelace,",
        "What: Morning Yoga",
        "When: Tuesday, 1 December 2026, 10:00 to 11:30 UTC",
        "Where: Studio B",
        "With: John Facilitator",
        "Booking: BK2026000012",
        "Price: 30.50 INR, paid",
        "Your notes: Beginner level",
        "Join online: https://meet.example.com/abc",
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("pending", "Price: 30.50 INR, to be paid"),
        ("completed", "Price: 30.50 INR, paid"),
        ("refunded", "Price: 30.50 INR, refunded"),
        ("not_required", "Price: Free of charge"),
    ],
)
def test_payment_status_is_stated(status: str, line: str) -> None:
    assert line in text_of(composed(booking={"payment_status": status}), "plain").splitlines()


def test_event_over_several_days_names_both() -> None:
    text = when(datetime(2026, 12, 1, 10, tzinfo=UTC), datetime(2026, 12, 3, 16, tzinfo=UTC), ZoneInfo("UTC"))
    assert text == "Tuesday, 1 December 2026, 10:00 to Thursday, 3 December 2026, 16:00 UTC"


def test_invitation_field_by_field() -> None:
    calendar, entry = calendar_of(composed())
    assert calendar["METHOD"] == "REQUEST"
    assert calendar["VERSION"] == "2.0"
    assert entry["UID"] == "booking-12@book.example.org"
    assert entry["SEQUENCE"] == 5
    assert entry["STATUS"] == "CONFIRMED"
    assert entry["SUMMARY"] == "Morning Yoga"
    assert entry["LOCATION"] == "Studio B"
    assert entry["URL"] == "https://meet.example.com/abc"
    assert entry["DTSTART"].to_ical() == b"20261201T100000Z"
    assert entry["DTEND"].to_ical() == b"20261201T113000Z"
    assert entry["DTSTAMP"].to_ical() == b"20261120T130810Z"
    assert entry["ORGANIZER"] == "mailto:john@example.com"
    assert entry["ORGANIZER"].params["CN"] == "John Facilitator"
    assert entry["ORGANIZER"].params["SENT-BY"] == "mailto:no-reply@convene.example"
    assert entry["ATTENDEE"] == "mailto:ada@example.com"
    assert entry["ATTENDEE"].params["CN"] == "Ada Lovelace"
    assert entry["ATTENDEE"].params["PARTSTAT"] == "ACCEPTED"


def test_entry_has_the_stored_uid_not_one_of_the_current_url() -> None:
    _, entry = calendar_of(composed(booking={"uid": "booking-12@before.example"}))
    assert entry["UID"] == "booking-12@before.example"
    message = a_coaching_message(MessageType.BOOKING_CREATED, coaching={"uid": "coaching-1@before.example"})
    assert "\r\nUID:coaching-1@before.example\r\n" in text_of(received(COMPOSER.compose(message)), "calendar")


def test_online_event_has_its_link_as_the_location() -> None:
    mail = composed(event={"location": None})
    assert calendar_of(mail)[1]["LOCATION"] == "https://meet.example.com/abc"
    assert "Where: Online" in text_of(mail, "plain")


def test_times_with_an_offset_are_in_utc_in_the_invitation() -> None:
    _, entry = calendar_of(composed(event={"starts_at": "2026-12-01T15:30:00+05:30"}))
    assert entry["DTSTART"].to_ical() == b"20261201T100000Z"


def test_moved_event_updates_the_same_entry() -> None:
    mail = composed(MessageType.BOOKING_MOVED, event={"version": 6, "location": "Garden"})
    calendar, entry = calendar_of(mail)
    assert mail["Subject"] == "Changed: Morning Yoga"
    assert (calendar["METHOD"], entry["UID"], entry["SEQUENCE"]) == ("REQUEST", "booking-12@book.example.org", 6)
    assert entry["LOCATION"] == "Garden"
    assert "Where: Garden" in text_of(mail, "plain")


def test_cancelled_booking_cancels_its_entry() -> None:
    mail = composed(MessageType.BOOKING_CANCELLED, booking={"status": "cancelled"}, event={"version": 6})
    calendar, entry = calendar_of(mail)
    assert mail["Subject"] == "Booking cancelled: Morning Yoga"
    assert "as you asked" in text_of(mail, "plain")
    assert "Join online" not in text_of(mail, "plain")
    assert (calendar["METHOD"], entry["STATUS"], entry["SEQUENCE"]) == ("CANCEL", "CANCELLED", 6)
    assert entry["UID"] == "booking-12@book.example.org"


def test_cancelled_event_has_its_own_wording() -> None:
    mail = composed(
        MessageType.BOOKING_CANCELLED, reason="event_cancelled", event={"version": 6, "status": "cancelled"}
    )
    calendar, entry = calendar_of(mail)
    assert mail["Subject"] == "Cancelled: Morning Yoga"
    assert "will not take place" in text_of(mail, "plain")
    assert (calendar["METHOD"], entry["SEQUENCE"]) == ("CANCEL", 6)


HOSTILE = '<script>alert("x")</script>{{7*7}}${7*7}%s'


def test_html_and_templates_in_user_text_are_escaped() -> None:
    mail = composed(
        user={"name": HOSTILE},
        event={"title": HOSTILE, "virtual_link": 'https://x.example/"onclick="alert(1)', "location": HOSTILE},
        booking={"notes": f"{HOSTILE}\n<img src=x onerror=alert(1)>"},
    )
    html = text_of(mail, "html")
    assert "<script" not in html
    assert "<img" not in html
    assert '"onclick="' not in html
    assert "&lt;script&gt;" in html
    assert "49" not in html
    assert HOSTILE in text_of(mail, "plain")
    assert mail["To"].addresses[0].addr_spec == "ada@example.com"
    assert mail["To"].addresses[0].display_name == HOSTILE
    assert calendar_of(mail)[1]["SUMMARY"] == HOSTILE


def test_commas_semicolons_and_quotes_are_escaped_in_the_calendar() -> None:
    title, name = 'A; b, "c" \\ d', 'Lovelace, Ada "The Countess"; x'
    _, entry = calendar_of(composed(event={"title": title, "description": "one\ntwo"}, user={"name": name}))
    assert entry["SUMMARY"] == title
    assert str(entry["DESCRIPTION"]).startswith("one\ntwo")
    assert entry["ATTENDEE"].params["CN"] == "Lovelace, Ada 'The Countess'; x"


def test_text_in_other_scripts_is_unchanged() -> None:
    mail = composed(user={"name": "Łukasz 王小明"}, event={"title": "योग सत्र 🧘", "location": "Zürich"})
    assert mail["To"].addresses[0].display_name == "Łukasz 王小明"
    assert mail["Subject"] == "You are booked: योग सत्र 🧘"
    assert "Where: Zürich" in text_of(mail, "plain")
    assert "योग सत्र 🧘" in text_of(mail, "html")
    assert calendar_of(mail)[1]["LOCATION"] == "Zürich"


def test_long_title_is_truncated_in_the_subject_only() -> None:
    mail = composed(event={"title": "x" * 200})
    assert mail["Subject"] == f"You are booked: {'x' * 119}…"
    assert "x" * 200 in text_of(mail, "plain")


def test_international_domain_is_encoded() -> None:
    assert composed(user={"email": "ada@bücher.example"})["To"].addresses[0].addr_spec == "ada@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("message_type", "payload"),
    [
        (MessageType.EVENT_UPDATED, {"booking": None, "user": None}),
        (MessageType.BOOKING_CREATED, {"user": {"email": "no address at all"}}),
        (MessageType.BOOKING_CREATED, {"user": {"name": "Ada\r\nBcc: eve@example.com"}}),
    ],
)
async def test_undeliverable_mail_is_a_permanent_failure(
    message_type: MessageType, payload: Any, tmp_path: Any
) -> None:
    message = a_message(message_type, destination=Destination.EMAIL, **payload)
    with pytest.raises(Unmailable):
        received(COMPOSER.compose(message))
    outcome = await EmailSender(COMPOSER, FileTransport(tmp_path)).deliver(message)
    assert isinstance(outcome, Failed)
    assert outcome.permanent
    assert list(tmp_path.iterdir()) == []
