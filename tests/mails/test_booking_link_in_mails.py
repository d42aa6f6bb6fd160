"""`BOOKING_URL_TEMPLATE`: the link to the booking in mails to clients, as text and as HTML."""

from typing import Any

import pytest

from domain.outbox import Destination, Message, MessageType
from infrastructure.email.composer import MailComposer
from infrastructure.email.content import Unmailable
from tests.support.messages import SESSION, a_coaching_message, a_message
from tests.support.standard_mail import received

SENDER: dict[str, Any] = {"mail_from": "Convene <no-reply@convene.example>", "public_url": "https://book.example.org"}
COMPOSER = MailComposer(**SENDER, booking_url_template="https://app.example.com/b?ref={reference}&from=mail#top")
WITHOUT = MailComposer(**SENDER)
MONEY = {"amount": "30.50", "currency": "INR"}
BEFORE = {
    "title": "Noon Yoga",
    "starts_at": "2026-11-30T10:00:00Z",
    "ends_at": "2026-11-30T11:00:00Z",
    "location": None,
    "virtual_link": None,
}
LATER: dict[str, Any] = {"money": MONEY, "before": BEFORE, "as_of": "2026-12-01T09:00:00+00:00"}
LIVE = "View or cancel your booking"
OVER = "View your booking"


def about_event(message_type: MessageType, **payload: Any) -> Message:
    return a_message(message_type, destination=Destination.EMAIL, **(LATER | payload))


def about_appointment(message_type: MessageType, recipient: str = "client", **payload: Any) -> Message:
    return a_coaching_message(message_type, recipient, **(LATER | payload))


def bodies(message: Message, composer: MailComposer = COMPOSER) -> tuple[str, str]:
    """The text and the HTML of the mail, as a mail program reads them."""
    mail = received(composer.compose(message))
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    return plain.get_content(), html.get_content()


# About an account, a calendar or a seat that is not booked yet; a facilitator's message is in `test_participants.py`.
OTHERS = {
    MessageType.CALENDAR_REVOKED,
    MessageType.FACILITATOR_APPROVED,
    MessageType.EMAIL_VERIFICATION,
    MessageType.PASSWORD_RESET_REQUESTED,
    MessageType.PASSWORD_CHANGED,
    MessageType.EMAIL_CHANGE_REQUESTED,
    MessageType.EMAIL_CHANGE_CONFIRMATION,
    MessageType.EMAIL_CHANGED,
    MessageType.LOGIN_FROM_NEW_NETWORK,
    MessageType.SECOND_FACTOR_CHANGED,
    MessageType.ERASURE_REQUESTED,
    MessageType.BOOKING_INVITATION,
    MessageType.PARTICIPANT_MESSAGE,
}


def mailed(make: Any) -> list[Message]:
    """One message of each type that a mail to a client is written about."""
    messages = [make(message_type) for message_type in MessageType if message_type not in OTHERS]
    return [message for message in messages if is_mailed(message)]


def is_mailed(message: Message) -> bool:
    try:
        received(WITHOUT.compose(message))
    except Unmailable:
        return False
    return True


@pytest.mark.parametrize(
    ("make", "reference", "kinds"),
    [(about_event, "BK2026000012", 7), (about_appointment, SESSION, 8)],
    ids=["event", "appointment"],
)
def test_every_mail_to_a_client_links_to_the_booking(make: Any, reference: str, kinds: int) -> None:
    """All types of mail have the link, as text and as HTML, with the reference and the rest of the template."""
    messages = mailed(make)
    assert len(messages) >= kinds
    for message in messages:
        plain, html = bodies(message)
        assert f"{LIVE}: https://app.example.com/b?ref={reference}&from=mail#top" in plain.splitlines(), (
            message.message_type
        )
        assert f'<a href="https://app.example.com/b?ref={reference}&amp;from=mail#top"' in html, message.message_type
        assert f">{LIVE}</a>" in html, message.message_type


@pytest.mark.parametrize("make", [about_event, about_appointment], ids=["event", "appointment"])
def test_without_the_template_no_mail_has_the_link(make: Any) -> None:
    """The setting is optional; mails then name the booking and nothing more."""
    for message in mailed(make):
        for body in bodies(message, WITHOUT):
            assert LIVE not in body
            assert OVER not in body
            assert "app.example.com" not in body


@pytest.mark.parametrize("status", ["cancelled", "completed"])
def test_mail_about_an_ended_booking_offers_to_view_it(status: str) -> None:
    """A mail does not offer to cancel what is cancelled or has taken place."""
    event = about_event(MessageType.BOOKING_REFUNDED, booking={"status": status})
    appointment = about_appointment(MessageType.BOOKING_REFUNDED, coaching={"status": status})
    for message in (event, appointment):
        for body in bodies(message):
            assert LIVE not in body
            assert OVER in body


def test_mail_to_a_coach_has_no_link() -> None:
    """The page behind the link is the client's."""
    for message_type in (MessageType.BOOKING_CREATED, MessageType.BOOKING_CANCELLED, MessageType.PAYMENT_COMPLETED):
        assert all("app.example.com" not in body for body in bodies(about_appointment(message_type, "coach")))


def test_booking_link_does_not_replace_the_payment_link() -> None:
    """A mail that asks for a payment has both links, the one to pay first."""
    unpaid = {"status": "confirmed", "payment_status": "pending", "hold_until": "2026-11-20T14:00:00+00:00"}
    pay = "https://pay.example/x"
    for body in bodies(about_event(MessageType.BOOKING_CREATED, booking=unpaid, payment_url=pay)):
        assert body.index(pay) < body.index(LIVE)
