"""Participants whom a facilitator adds by hand: the seat, the mail, the answer, and what no one learns."""

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from application.bookings.invitations import ExpireInvitations
from domain.accounts import User, UserId
from domain.events import EventFull, EventId
from domain.invitations import InvitationId, InvitationNotFound
from domain.outbox import Destination, MessageId, MessageType
from infrastructure import container
from infrastructure.auth.invitation_tokens import MacInvitationTokens
from infrastructure.container.foundation import invitation_tokens
from infrastructure.email.composer import MailComposer
from infrastructure.email.invitation_mail import InvitationLinks
from infrastructure.postgres.events import repository as event_adapter
from infrastructure.postgres.tables import EventRow
from infrastructure.settings import Settings
from interfaces.http.log_redaction import shown
from tests.support.invariants import broken_invariants
from tests.support.machine_clock import SystemClock
from tests.support.messages import a_message
from tests.support.people import PASSWORD, People, Person
from tests.support.rows import stored_row
from tests.support.settings import settings_for
from tests.support.standard_mail import received

INVITATION = {
    *("id", "event_id", "name", "email", "status", "created_at", "expires_at", "answered_at", "booking_id"),
}


@pytest.fixture(scope="module")
def settings(shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for(shared_database_url, redis_url, tmp_path_factory.mktemp("data"))


@pytest.fixture
async def parts(settings: Settings) -> Any:
    """The use cases, for what no one asks over HTTP."""
    built = container.build(settings)
    yield built
    await built.close()


@pytest.fixture(scope="module")
async def jane(shared_people: People) -> Person:
    """Another facilitator."""
    return await shared_people.facilitator("Jane")


@pytest.fixture(autouse=True)
async def sound(shared_database: asyncpg.Connection) -> Any:
    """After each test every seat is accounted for."""
    yield
    assert await broken_invariants(shared_database) == []


def an_address() -> str:
    return f"{uuid4()}@example.com"


async def added(by: Person, event_id: int, email: str, name: str = "Rosa Parks") -> dict[str, Any]:
    answer = await by.post(f"/facilitator/events/{event_id}/bookings", {"name": name, "email": email})
    assert answer.status_code == 202, answer.text
    invitation: dict[str, Any] = answer.json()["invitation"]
    return invitation


async def seats(person: Person, event_id: int) -> int:
    taken: int = (await person.get(f"/events/{event_id}")).json()["current_participants"]
    return taken


def code(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["code"]


MailTo = Callable[[str], Awaitable[EmailMessage]]


@pytest.fixture
def mail_to(shared_database: asyncpg.Connection, settings: Settings) -> MailTo:
    """The mail of the newest invitation of an address, from the outbox."""
    composer = MailComposer(
        mail_from="Convene <no-reply@convene.example>",
        public_url="https://book.example.org",
        invitation_links=InvitationLinks("https://book.example.org/", invitation_tokens(settings)),
    )

    async def compose(email: str) -> EmailMessage:
        row = await stored_row(
            shared_database,
            """SELECT * FROM outbox WHERE fact = 'booking_invitation' AND snapshot->'invitation'->>'email' = $1
               ORDER BY seq DESC""",
            email,
        )
        message = a_message(MessageType.BOOKING_INVITATION, destination=Destination.EMAIL)
        message = replace(message, id=MessageId(row["id"]), payload=json.loads(row["snapshot"]))
        return received(composer.compose(message))

    return compose


def body_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    content: str = body.get_content()
    return content


@pytest.fixture
def link_to(mail_to: MailTo) -> Callable[[str], Awaitable[str]]:
    """The path of the link in the mail to an address."""

    async def link(email: str) -> str:
        [path] = re.findall(r"https://book\.example\.org(/invitations/\S+)", body_of(await mail_to(email)))
        return str(path)

    return link


LinkTo = Callable[[str], Awaitable[str]]


# What no one learns


async def test_answer_does_not_reveal_whether_an_account_exists(
    john: Person, shared_people: People, shared_database: asyncpg.Connection, mail_to: MailTo
) -> None:
    """Status, body, the facilitator's lists and the mail do not reveal whether an address has an account, also a
    deactivated one. No account is made or changed."""
    event = await john.creates_event(price=30)
    known, inactive = await shared_people.user("Known Person"), await shared_people.user("Left")
    await shared_database.execute("UPDATE users SET is_active = false WHERE id = $1", inactive.id)
    users = "SELECT md5(string_agg(u::text, '' ORDER BY id)) FROM users u"
    before = await shared_database.fetchval(users)
    addresses = [an_address(), known.email, inactive.email]
    shown = [await added(john, event["id"], address) for address in addresses]

    for each, address in zip(shown, addresses, strict=True):
        assert each.keys() == INVITATION
        differing = {"id", "email", "created_at", "expires_at"}
        assert {name: value for name, value in each.items() if name not in differing} == {
            "event_id": event["id"],
            "name": "Rosa Parks",
            "status": "pending",
            "answered_at": None,
            "booking_id": None,
        }
        assert each["email"] == address
    assert await shared_database.fetchval(users) == before
    listed = (await john.get(f"/facilitator/events/{event['id']}/invitations")).json()["invitations"]
    assert listed == shown[::-1]
    assert (await john.get(f"/facilitator/events/{event['id']}/bookings")).json()["bookings"] == []
    assert await seats(john, event["id"]) == 3
    texts = {re.sub(r"/invitations/\S+|Answer by: .*", "", body_of(await mail_to(address))) for address in addresses}
    assert len(texts) == 1
    rows = await shared_database.fetch(
        "SELECT destination, fact FROM outbox WHERE lane = ANY($1)", [f"invitation:{each['id']}" for each in shown]
    )
    assert [tuple(row) for row in rows] == [("email", "booking_invitation")] * 3


async def test_mail_names_inviter_event_and_deadline(john: Person, mail_to: MailTo) -> None:
    email = an_address()
    await added(john, (await john.creates_event(title="Autumn Retreat"))["id"], email)
    mail = await mail_to(email)
    assert mail["Subject"] == "Please confirm: Autumn Retreat"
    assert mail["To"] == f"Rosa Parks <{email}>"
    assert mail["Reply-To"] == f"John Facilitator <{john.email}>"
    assert "John Facilitator has added you to Autumn Retreat." in body_of(mail)
    assert "Answer by: " in body_of(mail)
    assert "meet.google.com" not in str(mail)
    assert [part for part in mail.walk() if part.get_content_type() == "text/calendar"] == []


# Answering


async def test_confirmed_seat_is_a_booking_of_a_new_account_without_password(
    john: Person, shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection, link_to: LinkTo
) -> None:
    """Free, also at an event with a price; messages to the CRM, the user and the facilitator are as for any booking."""
    event, email = await john.creates_event(price=30), an_address()
    invitation = await added(john, event["id"], email)
    link = await link_to(email)
    page = await shared_api.get(link)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "A seat is held for <bdi>Rosa Parks</bdi>" in page.text
    assert not await shared_database.fetchval("SELECT count(*) FROM users WHERE email = $1", email)

    # The addresses of the page are relative, so that it also works below a path.
    [action, _] = re.findall(r'action="([^"]+)"', page.text)
    answer = await shared_api.post(str(httpx.URL(link).join(action)))

    assert answer.status_code == 303
    assert str(answer.request.url.join(answer.headers["location"]).path) == link
    assert "You have confirmed." in (await shared_api.get(link)).text
    user = await stored_row(shared_database, "SELECT * FROM users WHERE email = $1", email)
    assert (user["name"], user["role"], user["password_hash"], user["is_verified"]) == (
        "Rosa Parks",
        "user",
        None,
        True,
    )
    for password in (PASSWORD, ""):
        refused = await shared_api.post("/auth/login", json={"email": email, "password": password})
        assert refused.status_code == 401
    [booking] = (await john.get(f"/facilitator/events/{event['id']}/bookings")).json()["bookings"]
    assert (booking["status"], booking["payment_status"], booking["price"]) == ("confirmed", "not_required", 0)
    assert booking["user"]["email"] == email
    [listed] = (await john.get(f"/facilitator/events/{event['id']}/invitations")).json()["invitations"]
    assert (listed["id"], listed["status"], listed["booking_id"]) == (invitation["id"], "confirmed", booking["id"])
    assert await seats(john, event["id"]) == 1
    sent = await shared_database.fetch(
        "SELECT destination FROM outbox WHERE lane = $1 AND fact = 'booking_created'", f"booking:{booking['id']}"
    )
    assert {row[0] for row in sent} == {"crm", "email", "realtime"}
    reminders = "SELECT count(*) FROM reminders WHERE booking_id = $1 AND status = 'planned'"
    assert await shared_database.fetchval(reminders, booking["id"]) == 2
    cancelled = await john.post(f"/facilitator/bookings/{booking['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["refund"]) == (200, None)


async def test_confirmed_seat_belongs_to_the_existing_account(
    john: Person, shared_people: People, shared_database: asyncpg.Connection, link_to: LinkTo
) -> None:
    """It is attached when its owner confirms, not before, and the account is not changed."""
    event, rosa = await john.creates_event(price=30), await shared_people.user("Rosa of the account")
    account = "SELECT u::text FROM users u WHERE id = $1"
    before = await shared_database.fetchval(account, rosa.id)
    await added(john, event["id"], rosa.email, name="Another Name")
    assert (await rosa.get("/bookings")).json()["bookings"] == []

    assert (await rosa.api.post(f"{await link_to(rosa.email)}/confirm")).status_code == 303

    [booking] = (await rosa.get("/bookings")).json()["bookings"]
    assert (booking["event"]["id"], booking["user"]["name"]) == (event["id"], "Rosa of the account")
    assert booking["event"]["virtual_link"] is not None
    assert await shared_database.fetchval(account, rosa.id) == before
    message = await john.post(f"/facilitator/events/{event['id']}/messages", {"subject": "Hello", "text": "Hello"})
    assert message.json()["recipients"] == 1


async def test_invitation_is_answered_once(john: Person, shared_api: httpx.AsyncClient, link_to: LinkTo) -> None:
    """Many clicks at once are one booking; later answers change nothing. Declined, the seat is free."""
    event = await john.creates_event(max_participants=2)
    confirms, declines = an_address(), an_address()
    for email in (confirms, declines):
        await added(john, event["id"], email)
    yes, no = await link_to(confirms), await link_to(declines)

    answers = await asyncio.gather(*(shared_api.post(f"{yes}/confirm") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [303, 400, 400, 400, 400]
    assert await seats(john, event["id"]) == 2
    assert (await shared_api.post(f"{no}/decline")).status_code == 303
    assert "You have declined." in (await shared_api.get(no)).text
    assert await seats(john, event["id"]) == 1
    for link in (yes, no):
        for word in ("confirm", "decline"):
            assert code(await shared_api.post(f"{link}/{word}")) == (400, "invitation_over")
    assert await seats(john, event["id"]) == 1
    page = await shared_api.post(f"{no}/confirm", headers={"Accept": "text/html"})
    assert "The invitation was answered, or is no longer valid" in page.text


async def test_pending_seat_is_not_a_participant(john: Person, link_to: LinkTo) -> None:
    event, email = await john.creates_event(), an_address()
    await added(john, event["id"], email)
    answer = await john.post(f"/facilitator/events/{event['id']}/messages", {"subject": "Hello", "text": "Hello"})
    assert code(answer) == (400, "no_participants")


# The time to answer


async def test_unanswered_seat_is_released(
    john: Person, shared_database: asyncpg.Connection, link_to: LinkTo, parts: container.Container
) -> None:
    """It cannot be confirmed any more from then on, and many workers release it once."""
    event, email = await john.creates_event(), an_address()
    await added(john, event["id"], email)
    expire = ExpireInvitations(parts.open_work, SystemClock())
    await expire()
    assert await seats(john, event["id"]) == 1
    await shared_database.execute("UPDATE invitations SET expires_at = now() WHERE event_id = $1", event["id"])
    link = await link_to(email)
    assert code(await john.api.post(f"{link}/confirm")) == (400, "invitation_over")
    assert "no longer valid" in (await john.api.get(link)).text

    released = await asyncio.gather(*(expire() for _ in range(3)))

    assert sum(released) == 1
    assert await seats(john, event["id"]) == 0
    [listed] = (await john.get(f"/facilitator/events/{event['id']}/invitations")).json()["invitations"]
    assert listed["status"] == "expired"


# What is refused


async def test_address_has_one_invitation_and_only_if_a_seat_is_free(
    john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    """Who booked is in the facilitator's list anyway, so that an address with a booking is named."""
    event, email = await john.creates_event(max_participants=2, price=0), an_address()
    path = f"/facilitator/events/{event['id']}/bookings"

    async def adds(address: str) -> tuple[int, Any]:
        return code(await john.post(path, {"name": "Rosa", "email": address}))

    await added(john, event["id"], email)
    assert await adds(email.upper()) == (400, "already_invited")
    await ada.books(event["id"])
    assert await adds(ada.email) == (400, "participant_has_booking")
    assert await adds(an_address()) == (400, "event_full")
    assert code(await john.post("/bookings", {"event_id": event["id"]})) == (400, "event_full")
    await shared_database.execute("UPDATE events SET starts_at = now() WHERE id = $1", event["id"])
    assert await adds(an_address()) == (400, "event_started")
    await john.post(f"/facilitator/events/{event['id']}/cancel")
    assert await adds(an_address()) == (400, "event_cancelled")


@pytest.mark.parametrize(("field", "value"), [("name", "a\nb"), ("email", "rosa")])
async def test_name_and_address_are_required(john: Person, field: str, value: str) -> None:
    event = await john.creates_event()
    body = {"name": "Rosa", "email": an_address()} | {field: value}
    answer = await john.post(f"/facilitator/events/{event['id']}/bookings", body)
    assert code(answer) == (400, "validation_error")
    assert answer.json()["details"].keys() == {field}
    assert await seats(john, event["id"]) == 0


async def test_only_the_facilitator_and_admins_manage_invitations(
    john: Person, jane: Person, ada: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    """A caller without a token, a user and another facilitator are refused; an admin may."""
    root = await shared_people.user("Root")
    await shared_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", root.id)
    event, body = await john.creates_event(), {"name": "Rosa", "email": an_address()}
    invitation = await added(john, event["id"], an_address())
    asked: list[tuple[str, str, Any]] = [
        ("POST", f"/facilitator/events/{event['id']}/bookings", body),
        ("GET", f"/facilitator/events/{event['id']}/invitations", None),
        ("POST", f"/facilitator/invitations/{invitation['id']}/cancel", None),
    ]
    for method, path, sent in asked:

        async def request_as(
            person: Person | None, method: str = method, path: str = path, sent: Any = sent
        ) -> httpx.Response:
            return await john.api.request(method, path, json=sent, headers=person.headers if person else {})

        assert code(await request_as(None)) == (401, "invalid_token")
        assert code(await request_as(ada)) == (403, "forbidden")
        assert code(await request_as(jane)) == (403, "not_your_event")
        assert (await request_as(root)).status_code in {200, 202}
    assert code(await john.get("/facilitator/events/0/invitations")) == (404, "event_not_found")
    for unknown in (str(uuid4()), "x"):
        assert code(await john.post(f"/facilitator/invitations/{unknown}/cancel")) == (404, "invitation_not_found")


# The link


TOKENS = MacInvitationTokens(b"k" * 32)


@examples(deadline=None)
@given(st.uuids(), st.integers(0, 41), st.integers(1, 255))
def test_changed_link_is_invalid(value: Any, place: int, change: int) -> None:
    """A token is read back as its invitation; with one byte changed, cut or added, or under another key, it is none."""
    token = TOKENS.token(InvitationId(value))
    assert TOKENS.read(token) == value
    content = bytearray(base64.urlsafe_b64decode(token))
    content[place] ^= change
    changed = base64.urlsafe_b64encode(bytes(content)).decode()
    for other in (changed, token[:-4], token + "AAAA", token[:-1], "", "é" + token[1:]):
        with pytest.raises(InvitationNotFound):
            TOKENS.read(other)
    with pytest.raises(InvitationNotFound):
        MacInvitationTokens(b"o" * 32).read(token)


async def test_unknown_link_returns_404_and_links_are_not_logged(john: Person, link_to: LinkTo) -> None:
    for path in ("/invitations/x", f"/invitations/{'A' * 56}"):
        assert code(await john.api.get(path)) == (404, "invitation_not_found")
        assert code(await john.api.post(f"{path}/confirm")) == (404, "invitation_not_found")
    assert shown("/invitations/secret/confirm") == "/invitations/…"


# The last seats


async def test_invited_and_booked_seats_never_exceed_the_capacity(john: Person, shared_people: People) -> None:
    """Ten are added by hand while four people book, for four seats."""
    event = await john.creates_event(max_participants=4, price=0)
    path = f"/facilitator/events/{event['id']}/bookings"
    people = [await shared_people.user() for _ in range(4)]
    answers = await asyncio.gather(
        *(john.post(path, {"name": "Rosa", "email": an_address()}) for _ in range(10)),
        *(person.post("/bookings", {"event_id": event["id"]}) for person in people),
    )
    taken = [answer for answer in answers if answer.status_code < 300]
    assert len(taken) == 4
    assert {answer.json()["code"] for answer in answers if answer not in taken} == {"event_full"}
    assert await seats(john, event["id"]) == 4


async def invited_at_once(parts: container.Container, john: Person, number: int) -> list[Any]:
    """As many as there are connections, for one seat."""
    event = await john.creates_event(max_participants=1)
    async with parts.open_work() as work:
        user: User = await work.users.get(UserId(john.id))
    invite = parts.use_cases.invite_participant
    return await asyncio.gather(
        *(invite(user, EventId(event["id"]), name="Rosa", email=an_address()) for _ in range(number)),
        return_exceptions=True,
    )


async def test_of_concurrent_invitations_for_one_seat_one_is_held(parts: container.Container, john: Person) -> None:
    answers = await invited_at_once(parts, john, 4)
    assert [type(answer) for answer in answers if isinstance(answer, Exception)] == [EventFull] * 3


async def test_without_lock_only_the_constraint_prevents_overselling(
    parts: container.Container, john: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above: the event is read without its lock, so that all see a free seat."""

    all_have_read = asyncio.Barrier(4)

    async def unlocked(self: Any, *which: Any) -> Any:
        row = (await self._session.execute(select(EventRow).where(*which))).scalar_one()
        async with asyncio.timeout(30):
            await all_have_read.wait()
        return event_adapter._event(row)

    monkeypatch.setattr(event_adapter.PostgresEvents, "_locked", unlocked)
    answers = await invited_at_once(parts, john, 4)
    assert sum(isinstance(answer, IntegrityError) for answer in answers) == 3
