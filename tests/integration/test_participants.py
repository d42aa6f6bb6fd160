"""What facilitators do for the participants of their events, over HTTP: the rules, and who may do it."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import asyncpg
import httpx
import pytest

from domain.outbox import Destination, MessageType
from infrastructure.email.composer import MailComposer
from tests.support.messages import a_message
from tests.support.people import People, Person
from tests.support.standard_mail import received


@pytest.fixture(scope="module")
async def root(shared_people: People, shared_database: asyncpg.Connection) -> Person:
    """An admin."""
    person = await shared_people.user("Katherine Johnson")
    await shared_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
    return person


@pytest.fixture(scope="module")
async def jane(shared_people: People) -> Person:
    """Another facilitator."""
    return await shared_people.facilitator("Jane")


MESSAGE = {"subject": "What to bring", "text": "Please bring warm socks."}

Outbox = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture
def outbox(shared_database: asyncpg.Connection) -> Outbox:
    """Everything in the outbox, or what a condition selects."""

    async def rows(which: str = "true", *values: Any) -> list[dict[str, Any]]:
        found = await shared_database.fetch(f"SELECT * FROM outbox WHERE {which} ORDER BY seq", *values)
        return [dict(row) for row in found]

    return rows


def code(answer: httpx.Response) -> tuple[int, Any]:
    """Status and code of a refusal in contract B's shape."""
    body = answer.json()
    assert {"error", "code", "request_id"} <= body.keys(), body
    return answer.status_code, body["code"]


# Cancelling one participant


async def test_facilitator_cancels_one_participant_and_the_others_stay(
    john: Person, ada: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    """What was paid on the spot is refunded in full; the seat is free again."""
    event = await john.creates_event(max_participants=2, price=30)
    bob = await shared_people.user("Bob")
    booking, other = await ada.books(event["id"]), await bob.books(event["id"])
    assert (await john.post(f"/facilitator/bookings/{booking['id']}/payment")).status_code == 200

    answer = await john.post(f"/facilitator/bookings/{booking['id']}/cancel")

    assert answer.status_code == 200
    assert answer.json()["message"] == "Booking cancelled successfully"
    assert (answer.json()["refund"]["amount"], answer.json()["refund"]["currency"]) == (30, "INR")
    shown = (await ada.get(f"/bookings/{booking['id']}")).json()
    assert (shown["status"], shown["payment_status"]) == ("cancelled", "refunded")
    assert (await bob.get(f"/bookings/{other['id']}")).json()["status"] == "confirmed"
    assert (await john.get(f"/events/{event['id']}")).json()["current_participants"] == 1
    sent = await shared_database.fetch(
        "SELECT destination, snapshot->>'reason' AS reason FROM outbox WHERE lane = $1 AND fact = 'booking_cancelled'",
        f"booking:{booking['id']}",
    )
    assert {tuple(row) for row in sent} == {(to, "by_organiser") for to in ("crm", "email", "realtime")}
    again = await john.post(f"/facilitator/bookings/{booking['id']}/cancel")
    assert code(again) == (400, "booking_already_cancelled")


async def test_own_booking_of_the_facilitator_is_cancelled_as_organiser(
    john: Person, shared_database: asyncpg.Connection
) -> None:
    """Through this path the refund policy never counts, also not for their own booking."""
    event = await john.creates_event(price=30)
    await shared_database.execute("UPDATE events SET refund_policy = '[]' WHERE id = $1", event["id"])
    booking = await john.books(event["id"])
    await john.post(f"/facilitator/bookings/{booking['id']}/payment")
    answer = await john.post(f"/facilitator/bookings/{booking['id']}/cancel")
    assert answer.json()["refund"]["amount"] == 30


async def test_admin_cancels_a_participant_of_any_event(john: Person, ada: Person, root: Person) -> None:
    booking = await ada.books((await john.creates_event(price=0))["id"])
    answer = await root.post(f"/facilitator/bookings/{booking['id']}/cancel")
    assert (answer.status_code, answer.json()["refund"]) == (200, None)


async def test_participant_of_a_started_event_cannot_be_cancelled(
    john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    event = await john.creates_event(price=0)
    booking = await ada.books(event["id"])
    await shared_database.execute("UPDATE events SET starts_at = now() WHERE id = $1", event["id"])
    assert code(await john.post(f"/facilitator/bookings/{booking['id']}/cancel")) == (400, "booking_over")


async def test_unknown_booking_cannot_be_cancelled(john: Person) -> None:
    for booking_id in ("9007199254740993", "0", "-1", "x", "1e3"):
        answer = await john.post(f"/facilitator/bookings/{booking_id}/cancel")
        assert code(answer) == (404, "booking_not_found")


# Messages to all participants


async def test_message_is_sent_to_confirmed_participants_only(
    john: Person, shared_people: People, shared_database: asyncpg.Connection, outbox: Outbox
) -> None:
    """Paid, free and paid on the spot count as confirmed; a hold that waits for its payment, a cancelled booking and a
    participant of another event do not."""
    event = await john.creates_event(price=30)
    people = [await shared_people.user(f"Person {number}") for number in range(4)]
    paid, on_the_spot, held, cancelled = [await person.books(event["id"]) for person in people]
    assert (await john.post(f"/facilitator/bookings/{paid['id']}/payment")).status_code == 200
    hold = "UPDATE bookings SET hold_until = now() + interval '5 min' WHERE id = $1"
    await shared_database.execute(hold, held["id"])
    await people[3].post(f"/bookings/{cancelled['id']}/cancel")
    await people[3].books((await john.creates_event(price=0))["id"])

    answer = await john.post(f"/facilitator/events/{event['id']}/messages", MESSAGE)

    assert answer.status_code == 202
    assert answer.json() == {"message": "Message accepted for delivery", "recipients": 2}
    sent = await outbox("fact = 'participant_message' AND snapshot->'event'->>'id' = $1", str(event["id"]))
    assert [row["lane"] for row in sent] == [f"booking:{paid['id']}", f"booking:{on_the_spot['id']}"]
    assert {row["destination"] for row in sent} == {"email"}
    for row, person in zip(sent, people, strict=False):
        assert json.loads(row["snapshot"])["user"]["email"] == person.email
        assert not any(other.email in row["snapshot"] for other in people if other is not person)


async def test_participants_of_an_ended_event_get_messages(
    john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    """For photos and thanks, after its bookings were completed."""
    event = await john.creates_event(price=0)
    booking = await ada.books(event["id"])
    await shared_database.execute(
        "UPDATE events SET starts_at = now() - interval '2 h', ends_at = now() - interval '1 h' WHERE id = $1",
        event["id"],
    )
    await shared_database.execute("UPDATE bookings SET status = 'completed' WHERE id = $1", booking["id"])
    answer = await john.post(f"/facilitator/events/{event['id']}/messages", MESSAGE)
    assert (answer.status_code, answer.json()["recipients"]) == (202, 1)


async def test_without_confirmed_participants_nothing_is_sent(john: Person, ada: Person) -> None:
    event = await john.creates_event(price=0)
    path = f"/facilitator/events/{event['id']}/messages"
    assert code(await john.post(path, MESSAGE)) == (400, "no_participants")
    await ada.books(event["id"])
    await john.post(f"/facilitator/events/{event['id']}/cancel")
    assert code(await john.post(path, MESSAGE)) == (400, "no_participants")
    assert code(await john.post("/facilitator/events/9007199254740993/messages", MESSAGE)) == (404, "event_not_found")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(("subject", text) for text in ("", "   ", "\u200b", "s" * 201, "a\nb", "a\u202eb", "\x01")),
        *(("text", text) for text in ("", " \n ", "t" * 5001, "a\u202eb", "a\x01b")),
    ],
    ids=lambda text: ascii(text[:9]),
)
async def test_invalid_message_field_is_rejected(john: Person, ada: Person, field: str, text: str) -> None:
    """The rules for entered text, and the lengths."""
    event = await john.creates_event(price=0)
    await ada.books(event["id"])
    answer = await john.post(f"/facilitator/events/{event['id']}/messages", MESSAGE | {field: text})
    assert code(answer) == (400, "validation_error")
    assert answer.json()["details"].keys() == {field}


async def test_longest_message_is_accepted(john: Person, ada: Person) -> None:
    event = await john.creates_event(price=0)
    await ada.books(event["id"])
    body = {"subject": "ש" * 200, "text": "👩\u200d🚀\n" * 1250}
    answer = await john.post(f"/facilitator/events/{event['id']}/messages", body)
    assert answer.status_code == 202, answer.text


COMPOSER = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org")


def composed(subject: str, text: str, composer: MailComposer = COMPOSER, **payload: Any) -> EmailMessage:
    message = a_message(MessageType.PARTICIPANT_MESSAGE, destination=Destination.EMAIL, **payload)
    written = replace(message, payload=message.payload | {"written": {"subject": subject, "text": text}})
    return received(composer.compose(written))


def body_of(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content.replace("\r\n", "\n")


def test_mail_is_sent_to_one_participant_with_reply_to_the_facilitator() -> None:
    mail = composed("What to bring", "Warm socks.\n\n<b>Tea</b> is there.")
    assert mail["Subject"] == "What to bring"
    assert (mail["To"], mail["Cc"], mail["Bcc"]) == ("Ada Lovelace <ada@example.com>", None, None)
    assert mail["Reply-To"] == "John Facilitator <john@example.com>"
    plain, html = body_of(mail, "plain"), body_of(mail, "html")
    assert "A message to the participants of Morning Yoga, from John Facilitator:\n\nWarm socks.\n\n<b>Tea</b>" in plain
    assert "Where: Studio B" in plain
    assert "&lt;b&gt;Tea&lt;/b&gt; is there." in html
    assert "<b>" not in html
    assert [part for part in mail.walk() if part.get_content_type() == "text/calendar"] == []


def test_mail_links_to_the_booking_if_configured() -> None:
    """As all mails about a booking."""
    composer = MailComposer(
        mail_from="no-reply@convene.example",
        public_url="https://book.example.org",
        booking_url_template="https://app.example.org/b/{reference}",
    )
    assert "https://app.example.org/b/BK2026000012" in body_of(composed("Hello", "Hello", composer), "plain")


def test_message_text_cannot_add_headers_or_change_text_direction() -> None:
    """Braces are not placeholders, text that looks like an encoded word stays text, and right-to-left text is isolated
    line by line."""
    mail = composed("{title} =?utf-8?q?x?=", "שלום\nBcc: b@example.com", event={"title": "יוגה {money}"})
    assert mail["Subject"] == "{title} =?utf-8?q?x?="
    assert mail["Bcc"] is None
    plain = body_of(mail, "plain")
    assert "\u2068שלום\u2069\nBcc: b@example.com" in plain
    assert "\u2068יוגה {money}\u2069, from" in plain


# Who may do it


async def test_only_the_facilitator_and_admins_manage_participants(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, jane: Person, root: Person, outbox: Outbox
) -> None:
    """A caller without a token, the participant and another facilitator are refused, and nothing changes; the event's
    facilitator and an admin may."""
    event = await john.creates_event(price=0)
    booking = await ada.books(event["id"])
    before = await outbox()
    asked: dict[str, Any] = {
        f"/facilitator/events/{event['id']}/messages": MESSAGE,
        f"/facilitator/bookings/{booking['id']}/cancel": None,
    }
    for path, body in asked.items():
        assert code(await shared_api.post(path, json=body)) == (401, "invalid_token")
        assert code(await ada.post(path, body)) == (403, "forbidden")
        assert code(await jane.post(path, body)) == (403, "not_your_event")
    assert await outbox() == before
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["status"] == "confirmed"
    for person in (john, root):
        assert (await person.post(f"/facilitator/events/{event['id']}/messages", MESSAGE)).status_code == 202
