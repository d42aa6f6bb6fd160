"""The mails about coaching, to the client and to the coach, as a mail program reads them."""

from email.message import EmailMessage
from typing import Any, cast

import pytest
from icalendar import Calendar, Component, vCalAddress

from domain.outbox import MessageType
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.delivery.email_service import _to_request
from infrastructure.email.composer import MailComposer
from infrastructure.email.content import Unmailable
from tests.support.messages import SESSION, a_coaching_message, a_message
from tests.support.standard_mail import received

COMPOSER = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org:8443/x")
CLIENT, COACH = "client", "coach"


def composed(message_type: MessageType, recipient: str, **payload: Any) -> EmailMessage:
    return received(COMPOSER.compose(a_coaching_message(message_type, recipient, **payload)))


def lines(mail: EmailMessage, kind: str = "plain") -> list[str]:
    body = mail.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content.splitlines()


def entry(mail: EmailMessage) -> tuple[str, Component]:
    """Method and entry."""
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    calendar = Calendar.from_ical(part.get_content())
    [event] = calendar.walk("VEVENT")
    assert part["Content-Type"].params["method"] == calendar["METHOD"]
    return str(calendar["METHOD"]), event


HELD = {"hold_until": "2026-11-20T13:38:10+00:00", "payment_status": "pending", "price": "1500.0000"}
MONEY = {"amount": "1500.00", "currency": "INR"}
BY_CARD = {"gateway": "stripe", "id": "pi_1", "received_at": "2026-11-20T13:10:00+00:00", "url": None}
ON_THE_SPOT = {"gateway": "offline", "id": None, "received_at": "2026-11-20T13:10:00+00:00", "url": None}


@pytest.mark.parametrize(
    ("message_type", "recipient", "payload", "subject", "sentence"),
    [
        (MessageType.BOOKING_CREATED, CLIENT, {}, "Requested: Coaching with Mira Sol", "when Mira Sol confirms it"),
        (
            MessageType.BOOKING_CREATED,
            COACH,
            {},
            "New request: Coaching with Ada Lovelace",
            "Ada Lovelace asks for a session",
        ),
        (
            MessageType.BOOKING_CREATED,
            CLIENT,
            {"coaching": HELD},
            "Please pay: Coaching with Mira Sol",
            "Please pay by then",
        ),
        (
            MessageType.BOOKING_CREATED,
            COACH,
            {"coaching": HELD},
            "New booking: Coaching with Ada Lovelace",
            "as soon as it is",
        ),
        (MessageType.BOOKING_CONFIRMED, CLIENT, {}, "Confirmed: Coaching with Mira Sol", "Mira Sol has confirmed"),
        (
            MessageType.BOOKING_CONFIRMED,
            COACH,
            {},
            "Confirmed: Coaching with Ada Lovelace",
            "with Ada Lovelace is confirmed",
        ),
        (MessageType.BOOKING_RESCHEDULED, CLIENT, {}, "Moved: Coaching with Mira Sol", "takes place at another time"),
        (
            MessageType.BOOKING_RESCHEDULED,
            COACH,
            {},
            "Moved: Coaching with Ada Lovelace",
            "takes place at another time",
        ),
        (
            MessageType.BOOKING_CANCELLED,
            CLIENT,
            {"reason": "by_person"},
            "Booking cancelled: Coaching with Mira Sol",
            "asked",
        ),
        (
            MessageType.BOOKING_CANCELLED,
            COACH,
            {"reason": "by_person"},
            "Booking cancelled: Coaching with Ada Lovelace",
            "Ada Lovelace has cancelled",
        ),
        (
            MessageType.BOOKING_CANCELLED,
            CLIENT,
            {"reason": "by_coach"},
            "Cancelled: Coaching with Mira Sol",
            "We are sorry",
        ),
        (
            MessageType.BOOKING_CANCELLED,
            COACH,
            {"reason": "by_coach"},
            "Cancelled: Coaching with Ada Lovelace",
            "your side",
        ),
        (
            MessageType.BOOKING_CANCELLED,
            CLIENT,
            {"reason": "payment_expired"},
            "Booking ended: Coaching with Mira Sol",
            "anew",
        ),
        (
            MessageType.BOOKING_CANCELLED,
            COACH,
            {"reason": "payment_expired"},
            "Booking ended: Coaching with Ada Lovelace",
            "Ada Lovelace did not pay in time",
        ),
        (
            MessageType.PAYMENT_COMPLETED,
            CLIENT,
            {"money": MONEY, "payment": BY_CARD, "coaching": {"status": "confirmed"}},
            "Receipt: Coaching with Mira Sol",
            "We have received 1,500.00 INR for your session with Mira Sol. This mail is your receipt. Your session is",
        ),
        (
            MessageType.PAYMENT_COMPLETED,
            COACH,
            {"money": MONEY, "payment": BY_CARD},
            "Paid: Coaching with Ada Lovelace",
            "Ada Lovelace has paid 1,500.00 INR",
        ),
        (
            MessageType.BOOKING_REFUNDED,
            CLIENT,
            {"money": MONEY, "payment": BY_CARD, "reason": "booking_cancelled"},
            "Refund: Coaching with Mira Sol",
            "It can take some days until your bank shows it",
        ),
        (
            MessageType.BOOKING_REFUNDED,
            CLIENT,
            {"money": MONEY, "payment": ON_THE_SPOT, "reason": "booking_cancelled"},
            "Refund: Coaching with Mira Sol",
            "Mira Sol hands the money back to you",
        ),
        (
            MessageType.BOOKING_REFUNDED,
            COACH,
            {"money": MONEY, "payment": ON_THE_SPOT, "reason": "booking_cancelled"},
            "Refund: Coaching with Ada Lovelace",
            "please hand 1,500.00 INR back to Ada Lovelace",
        ),
        (
            MessageType.BOOKING_REFUNDED,
            COACH,
            {"money": MONEY, "payment": BY_CARD, "reason": "place_gone"},
            "Refund: Coaching with Ada Lovelace",
            "We have refunded 1,500.00 INR to Ada Lovelace",
        ),
    ],
)
def test_client_and_coach_get_their_own_wording(
    message_type: MessageType, recipient: str, payload: dict[str, Any], subject: str, sentence: str
) -> None:
    mail = composed(message_type, recipient, **payload)
    other, own = ("ada@example.com", "mira@example.com")[:: 1 if recipient == COACH else -1]
    assert mail["Subject"] == subject
    assert mail["To"].addresses[0].addr_spec == own
    assert mail["Reply-To"].addresses[0].addr_spec == other
    assert sentence in " ".join(lines(mail))
    assert sentence in " ".join(lines(mail, "html"))
    assert "{" not in " ".join(lines(mail))


@pytest.mark.parametrize("url", ["https://pay.example/1?a=b&c=d", None])
def test_client_who_has_to_pay_gets_the_payment_link(url: str | None) -> None:
    mail = composed(MessageType.BOOKING_CREATED, CLIENT, coaching=HELD, payment_url=url)
    assert (f"Pay now: {url}" in lines(mail)) is (url is not None)
    assert ("The link to pay is where you booked." in " ".join(lines(mail))) is (url is None)
    if url is not None:
        assert f'href="{url.replace("&", "&amp;")}"' in " ".join(lines(mail, "html"))


def test_times_are_in_the_time_zone_of_the_reader() -> None:
    appointment = HELD | {"meeting_link": "https://meet.example/1"}
    client, coach = (composed(MessageType.BOOKING_CREATED, who, coaching=appointment) for who in (CLIENT, COACH))
    for line in (
        "What: Coaching with Mira Sol",
        "When: Tuesday, 1 December 2026, 05:00 to 06:00 America/New_York (UTC-05:00)",
        "Pay by: Friday, 20 November 2026, 08:38 America/New_York (UTC-05:00)",
        "Price: 1,500.00 INR, to be paid",
        "Status: Waiting for the payment",
        "Your notes: Career",
        "Join online: https://meet.example/1",
    ):
        assert line in lines(client)
    for line in (
        "When: Tuesday, 1 December 2026, 11:00 to 12:00 Europe/Berlin (UTC+01:00)",
        "Held until: Friday, 20 November 2026, 14:38 Europe/Berlin (UTC+01:00)",
        "Their notes: Career",
    ):
        assert line in lines(coach)


@pytest.mark.parametrize(
    ("zone", "starts_at", "ends_at", "said"),
    [
        (
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "Sunday, 25 October 2026, 02:30 (UTC+02:00) to 02:30 (UTC+01:00) Europe/Berlin",
        ),
        (
            "Europe/Berlin",
            "2027-03-28T00:30:00Z",
            "2027-03-28T01:30:00Z",
            "Sunday, 28 March 2027, 01:30 (UTC+01:00) to 03:30 (UTC+02:00) Europe/Berlin",
        ),
        (
            "Australia/Lord_Howe",
            "2027-04-03T14:30:00Z",
            "2027-04-03T15:30:00Z",
            "Sunday, 4 April 2027, 01:30 (UTC+11:00) to 02:00 (UTC+10:30) Australia/Lord_Howe",
        ),
        (
            "Asia/Kolkata",
            "2026-12-01T18:00:00Z",
            "2026-12-01T19:00:00Z",
            "Tuesday, 1 December 2026, 23:30 to Wednesday, 2 December 2026, 00:30 Asia/Kolkata (UTC+05:30)",
        ),
        (
            "UTC",
            "2026-12-01T18:00:00Z",
            "2026-12-01T19:00:00Z",
            "Tuesday, 1 December 2026, 18:00 to 19:00 UTC",
        ),
        (
            "Nowhere/Gone",
            "2026-12-01T18:00:00Z",
            "2026-12-01T19:00:00Z",
            "Tuesday, 1 December 2026, 18:00 to 19:00 UTC",
        ),
    ],
)
def test_offset_change_during_a_session_shows_both_offsets(zone: str, starts_at: str, ends_at: str, said: str) -> None:
    times = {"starts_at": starts_at, "ends_at": ends_at}
    mail = composed(MessageType.BOOKING_CONFIRMED, COACH, coach={"timezone": zone}, coaching=times)
    assert f"When: {said}" in lines(mail)


def test_rescheduling_mail_has_the_old_time_and_updates_the_entry() -> None:
    before = {"starts_at": "2026-10-20T10:00:00Z", "ends_at": "2026-10-20T11:00:00Z"}
    mail = composed(
        MessageType.BOOKING_RESCHEDULED, COACH, before=before, coaching={"sequence": 2, "status": "confirmed"}
    )
    assert "Was: Tuesday, 20 October 2026, 12:00 to 13:00 Europe/Berlin (UTC+02:00)" in lines(mail)
    assert "When: Tuesday, 1 December 2026, 11:00 to 12:00 Europe/Berlin (UTC+01:00)" in lines(mail)
    method, event = entry(mail)
    assert (method, event["SEQUENCE"], event["STATUS"]) == ("REQUEST", 2, "CONFIRMED")
    assert event["DTSTART"].to_ical() == b"20261201T100000Z"


@pytest.mark.parametrize("recipient", [CLIENT, COACH])
def test_calendar_entry_invites_both_and_is_the_same_for_both(recipient: str) -> None:
    link = "https://meet.example/1"
    method, event = entry(composed(MessageType.BOOKING_CREATED, recipient, coaching={"meeting_link": link}))
    assert (method, event["STATUS"], event["SEQUENCE"]) == ("REQUEST", "TENTATIVE", 0)
    assert event["UID"] == f"coaching-{SESSION}@book.example.org"
    assert (event["LOCATION"], event["URL"]) == (link, link)
    assert event["ORGANIZER"] == "mailto:no-reply@convene.example"
    answers = {str(guest): guest.params["PARTSTAT"] for guest in cast(list[vCalAddress], event["ATTENDEE"])}
    assert answers == {"mailto:ada@example.com": "ACCEPTED", "mailto:mira@example.com": "NEEDS-ACTION"}


def test_cancelled_appointment_is_removed_from_the_calendar() -> None:
    appointment = {"status": "cancelled", "sequence": 3, "meeting_link": "https://meet.example/1"}
    mail = composed(MessageType.BOOKING_CANCELLED, CLIENT, reason="by_coach", coaching=appointment)
    method, event = entry(mail)
    assert (method, event["STATUS"], event["SEQUENCE"]) == ("CANCEL", "CANCELLED", 3)
    assert "Join online" not in " ".join(lines(mail))


@pytest.mark.parametrize(
    ("message_type", "subject", "sentence"),
    [
        (MessageType.DISPUTE_OPENED, "Payment disputed: ", "The bank of Ada Lovelace disputes the payment of"),
        (MessageType.DISPUTE_WON, "Dispute won: ", "The payment stays."),
        (MessageType.DISPUTE_LOST, "Dispute lost: ", "to Ada Lovelace."),
    ],
)
def test_dispute_is_mailed_to_the_coach_alone(message_type: MessageType, subject: str, sentence: str) -> None:
    link = {"meeting_link": "https://meet.example/1"}
    mail = composed(message_type, COACH, money=MONEY, payment=BY_CARD, coaching=link)
    assert mail["Subject"].startswith(subject)
    assert sentence in " ".join(lines(mail))
    assert "Disputed" in " ".join(lines(mail))
    assert "Join online" not in " ".join(lines(mail))
    with pytest.raises(Unmailable):
        composed(message_type, CLIENT, money=MONEY, payment=BY_CARD)


@pytest.mark.parametrize("message_type", [MessageType.PAYMENT_FAILED, MessageType.BOOKING_REFUNDED])
def test_payment_mails_have_no_calendar_entry(message_type: MessageType) -> None:
    url = "https://pay.example/1"
    mail = composed(message_type, CLIENT, money=MONEY, payment=BY_CARD | {"url": url})
    assert not any(part.get_content_type() == "text/calendar" for part in mail.walk())
    assert (f"Pay now: {url}" in lines(mail)) == (message_type is MessageType.PAYMENT_FAILED)


HOSTILE = '<script>alert("x")</script>{{7*7}}{client}%s'


@pytest.mark.parametrize("recipient", [CLIENT, COACH])
def test_html_and_templates_in_user_text_are_escaped(recipient: str) -> None:
    mail = composed(
        MessageType.BOOKING_CREATED,
        recipient,
        client={"name": HOSTILE},
        coach={"name": HOSTILE},
        coaching={"notes": f"{HOSTILE}\n<img src=x>", "meeting_link": 'https://x.example/"onclick="alert(1)'},
    )
    html = "\n".join(lines(mail, "html"))
    assert "<script" not in html
    assert "<img" not in html
    assert '"onclick="' not in html
    assert "49" not in html
    assert HOSTILE in "\n".join(lines(mail))
    assert entry(mail)[1]["SUMMARY"] == f"Coaching with {HOSTILE}"


def test_failed_payment_is_not_mailed_to_the_coach() -> None:
    with pytest.raises(Unmailable):
        composed(MessageType.PAYMENT_FAILED, COACH, money=MONEY)


def test_owner_of_a_revoked_calendar_is_asked_to_reconnect() -> None:
    message = a_message(MessageType.CALENDAR_REVOKED)
    person = {"id": 3, "name": "Ada <b>", "email": "ada@example.com", "timezone": "UTC"}
    message.payload.clear()
    message.payload.update(person=person, provider="google")
    composed = COMPOSER.compose(message)
    mail = received(composed)
    assert mail["Subject"] == "Please connect your Google calendar again"
    assert mail["To"].addresses[0].addr_spec == "ada@example.com"
    assert mail["Reply-To"] is None
    assert "Hello Ada <b>," in lines(mail)
    assert "Ada <b>" not in "\n".join(lines(mail, "html"))
    assert "Questions" not in " ".join(lines(mail))
    assert _to_request(composed)["reply_to"] is None


def test_payload_of_an_appointment_has_the_shape_of_a_booking() -> None:
    before = {"starts_at": "2026-10-20T10:00:00Z", "ends_at": "2026-10-20T11:00:00Z"}
    body = to_payload(
        a_coaching_message(MessageType.BOOKING_RESCHEDULED, None, before=before, coaching={"sequence": 2})
    )
    assert (body["kind"], body["action"], body["booking_id"]) == ("coaching", "booking_rescheduled", SESSION)
    ada = {"id": 3, "name": "Ada Lovelace", "email": "ada@example.com"}
    mira = {"id": 9, "name": "Mira Sol", "email": "mira@example.com", "timezone": "Europe/Berlin"}
    assert (body["user"], body["facilitator"]) == (ada, mira)
    assert body["email_facilitator"] is False
    assert body["previous"] == {"start_datetime": "2026-10-20T10:00:00Z", "end_datetime": "2026-10-20T11:00:00Z"}
    event = body["event"]
    assert (event["id"], event["title"], event["facilitator_id"]) == (SESSION, "Coaching with Mira Sol", 9)
    assert (event["date_time"], event["duration_minutes"]) == ("2026-12-01T10:00:00Z", 60)
