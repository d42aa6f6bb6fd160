"""The rules of mail to addresses that are not verified."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from application.notifications.ports import SessionRef
from application.notifications.unverified_mail import MailToUnverified
from application.outbox.held import AT_ONCE, ReleaseHeldMessages
from domain.accounts import User
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef
from domain.invitations import InvitationId
from domain.outbox import Delivered, Destination, Failed, Held, Message, MessageStatus, MessageType, Outcome
from domain.unverified_mail import MAILS_TO_UNVERIFIED, PER, BookedSession
from tests.application.account_mails import AccountMails
from tests.application.deliveries import MINUTE, Deliveries
from tests.support.memory.account_use_cases import ADDRESS, EMAIL
from tests.support.memory.claims import MemoryOutboxClaims, OutboxRow, add_to_outbox
from tests.support.memory.unverified_mail import MemoryHeldMessages, MemoryUnverifiedAddresses

SECOND = timedelta(seconds=1)
APPOINTMENT = UUID(int=9)


class StoredSessions:
    """All sessions are those that the mails show, unless a test sets another."""

    def __init__(self) -> None:
        self.now: dict[SessionRef, BookedSession | None] = {}
        self.usual: BookedSession | None = None

    async def find(self, about: SessionRef) -> BookedSession | None:
        return self.now.get(about, self.usual)


class UnverifiedMails(AccountMails):
    def __init__(self) -> None:
        super().__init__()
        self.sessions = StoredSessions()
        self.starts_at = self.clock.now() + timedelta(days=30)
        self.sessions.usual = self.session()
        addresses = MemoryUnverifiedAddresses(self.store, self.clock)
        limited = MailToUnverified(self.mail, addresses, self.sessions, self.units, self.clock)
        self.sender = replace(self.sender, mail=limited)
        self.release = ReleaseHeldMessages(MemoryHeldMessages(self.store, self.clock), self.wake_ups)

    def session(self, **changes: Any) -> BookedSession:
        usual = BookedSession(self.starts_at, self.starts_at + timedelta(hours=1), True, "not_required")
        return replace(usual, **changes)

    def booked(
        self, number: int = 1, *, email: str = EMAIL, message_type: MessageType = MessageType.BOOKING_CREATED
    ) -> None:
        """Each booking is another one, with another ordering key."""
        for _ in range(number):
            booking_id = self.store.next_id("bookings")
            self.enqueued(
                message_type,
                f"booking:{booking_id}",
                user={"name": "Ada", "email": email},
                event=self.times() | {"title": "Yoga", "virtual_link": "https://evil.example"},
                booking={"id": booking_id, "payment_status": "not_required"},
            )

    def times(self) -> dict[str, Any]:
        return {
            "starts_at": self.starts_at.isoformat(),
            "ends_at": (self.starts_at + timedelta(hours=1)).isoformat(),
        }

    def enqueued(self, message_type: MessageType, key: str = "key", **payload: Any) -> None:
        add_to_outbox(
            self.store,
            self.store.tables,
            destination=Destination.EMAIL,
            ordering_key=key,
            message_type=message_type,
            payload=payload,
            now=self.clock.now(),
        )

    async def all_outcomes(self) -> Sequence[Outcome]:
        found: list[Outcome] = []
        while outcomes := await self.outcomes():
            found += outcomes
        return found

    def held(self) -> list[OutboxRow]:
        return [row for row in self.messages() if row.status is MessageStatus.HELD]

    async def has_unverified(self) -> User:
        """With the mail of the registration."""
        user = await self.has_registered()
        assert await self.mailed_token()
        return user

    async def verifies(self) -> None:
        """By the link of the last mail."""
        received = self.mail.received[-1].payload
        await self.verify(received.get("token") or received["verification"], address=ADDRESS)


@pytest.fixture
def mails() -> UnverifiedMails:
    return UnverifiedMails()


async def test_address_that_is_not_verified_gets_five_mails_and_the_rest_is_held(mails: UnverifiedMails) -> None:
    await mails.has_unverified()
    mails.booked(101)
    outcomes = await mails.all_outcomes()
    assert [type(each) for each in outcomes] == 4 * [Delivered] + 97 * [Held]
    assert len(mails.mail.received) == MAILS_TO_UNVERIFIED
    assert {row.held_for for row in mails.held()} == {EMAIL}
    assert {row.attempts for row in mails.held()} == {0}


async def test_window_slides(mails: UnverifiedMails) -> None:
    await mails.has_unverified()
    mails.clock.advance(PER - SECOND)
    mails.booked(5)
    assert [type(each) for each in await mails.all_outcomes()] == 4 * [Delivered] + [Held]
    mails.clock.advance(SECOND)
    mails.booked(2)
    assert [type(each) for each in await mails.all_outcomes()] == [Delivered, Held]


async def test_mails_of_all_accounts_and_kinds_count_for_their_address(mails: UnverifiedMails) -> None:
    await mails.has_unverified()
    mails.booked(2)
    person = {"name": "Ada", "email": EMAIL}
    invitation = person | {"id": str(UUID(int=4))}
    mails.enqueued(MessageType.CALENDAR_REVOKED, "calendar", person=person)
    mails.enqueued(MessageType.BOOKING_INVITATION, "invitation", invitation=invitation, event=mails.times())
    mails.enqueued(
        MessageType.BOOKING_CONFIRMED,
        "coaching",
        coaching=mails.times() | {"id": str(APPOINTMENT), "payment_status": "not_required"},
        client={"name": "Eve", "email": "other@example.com"},
        coach=person,
        recipient="coach",
    )
    mails.enqueued(MessageType.PASSWORD_RESET_REQUESTED, "reset", email=EMAIL)
    outcomes = await mails.all_outcomes()
    assert [type(each) for each in outcomes] == 4 * [Delivered] + 2 * [Held]


async def test_every_mail_has_the_link_and_nothing_that_users_wrote(mails: UnverifiedMails) -> None:
    user = await mails.has_unverified()
    mails.booked()
    await mails.all_outcomes()
    payload = mails.mail.received[-1].payload
    assert "evil" not in repr(payload)
    assert "verification" not in mails.mail.received[0].payload, "the first mail is this link"
    await mails.verify(payload["verification"], address=ADDRESS)
    assert mails.user(user.id).is_verified


async def test_message_that_is_tried_again_counts_once(mails: UnverifiedMails) -> None:
    await mails.has_unverified()
    mails.booked(3)
    mails.mail.outcome = Failed("busy")
    for _ in range(9):
        assert [type(each) for each in await mails.outcomes()] == 3 * [Failed]
    mails.mail.outcome = Delivered()
    mails.booked(2)
    assert [type(each) for each in await mails.all_outcomes()] == 4 * [Delivered] + [Held]


async def test_held_mails_are_sent_when_the_address_is_verified(mails: UnverifiedMails) -> None:
    await mails.has_unverified()
    mails.booked(10)
    await mails.all_outcomes()
    assert len(mails.held()) == 6
    await mails.verifies()
    assert not mails.held()
    assert await mails.all_outcomes() == 6 * [Delivered()]
    assert len(mails.mail.received) == 11
    assert mails.mail.received[-1].payload["event"]["virtual_link"] == "https://evil.example", (
        "as the facilitator wrote"
    )
    mails.booked(20)
    assert await mails.all_outcomes() == 20 * [Delivered()]


async def test_held_mail_that_is_outdated_is_not_sent(mails: UnverifiedMails) -> None:
    await mails.has_unverified()
    mails.booked(6)
    await mails.all_outcomes()
    ids = [BookingRef(BookingId(row.payload["booking"]["id"])) for row in mails.held()]
    mails.sessions.now = {ids[0]: mails.session(is_live=False)}
    await mails.verifies()
    assert await mails.all_outcomes() == [Delivered("not sent: it has ended"), Delivered()]


@pytest.mark.parametrize("kind", ["coaching", "invitation"])
async def test_held_mails_about_appointments_and_invitations_are_checked(mails: UnverifiedMails, kind: str) -> None:
    await mails.has_unverified()
    mails.booked(4)
    person, about = {"name": "Ada", "email": EMAIL}, {"id": str(APPOINTMENT)}
    if kind == "coaching":
        appointment = mails.times() | about | {"payment_status": "not_required"}
        mails.enqueued(MessageType.BOOKING_CREATED, coaching=appointment, client=person, recipient="client")
        mails.sessions.now = {AppointmentRef(AppointmentId(APPOINTMENT)): mails.session(is_live=False)}
    else:
        mails.enqueued(MessageType.BOOKING_INVITATION, invitation=person | about, event=mails.times())
        mails.sessions.now = {InvitationId(APPOINTMENT): mails.session(is_live=False, payment_status=None)}
    await mails.all_outcomes()
    await mails.verifies()
    assert await mails.all_outcomes() == [Delivered("not sent: it has ended")]


@pytest.mark.parametrize("current", [{0, 1, 2}, {1, 2}, {2}, set()])
async def test_held_mail_about_a_series_has_the_sessions_that_are_current(
    mails: UnverifiedMails, current: set[int]
) -> None:
    await mails.has_unverified()
    mails.booked(MAILS_TO_UNVERIFIED)
    series = [mails.times() | {"id": str(UUID(int=number)), "payment_status": "pending"} for number in range(3)]
    usual = mails.session(payment_status="pending")
    for number in range(3):
        ref = AppointmentRef(AppointmentId(UUID(int=number)))
        mails.sessions.now[ref] = replace(usual, is_live=number in current)
    mails.enqueued(
        MessageType.BOOKING_CREATED,
        client={"name": "Ada", "email": EMAIL},
        coaching=series[0],
        series=series,
        recipient="client",
    )
    await mails.all_outcomes()
    assert mails.held()
    await mails.verifies()
    sent = len(mails.mail.received)
    await mails.all_outcomes()
    about = [each.payload for each in mails.mail.received[sent:] if "series" in each.payload]
    shown = [int(UUID(each["id"])) for payload in about for each in payload["series"]]
    assert shown == sorted(current)
    assert [payload["coaching"] for payload in about] == [series[min(current)]] if current else about == []


async def test_held_mail_about_an_account_is_sent(mails: UnverifiedMails) -> None:
    await mails.has_unverified()
    mails.booked(4)
    mails.enqueued(MessageType.PASSWORD_CHANGED, person={"name": "Ada", "email": EMAIL})
    await mails.all_outcomes()
    await mails.verifies()
    assert await mails.all_outcomes() == [Delivered()]


async def test_mail_of_nothing_but_a_users_text_waits_for_the_verification(mails: UnverifiedMails) -> None:
    await mails.has_unverified()
    mails.booked(message_type=MessageType.PARTICIPANT_MESSAGE)
    assert [type(each) for each in await mails.all_outcomes()] == [Held]
    mails.booked(4)
    assert await mails.all_outcomes() == 4 * [Delivered()], "it was not counted"
    await mails.verifies()
    assert await mails.all_outcomes() == [Delivered()]


async def test_address_without_an_account_is_limited(mails: UnverifiedMails) -> None:
    mails.booked(6, email="stranger@example.com")
    assert [type(each) for each in await mails.all_outcomes()] == 5 * [Delivered] + [Held]
    assert "verification" not in mails.mail.received[-1].payload, "there is nothing to verify"
    async with mails.units() as work:
        await work.users.add_without_password(email="stranger@example.com", name="Eve", now=mails.clock.now())
        await work.commit()
    assert await mails.all_outcomes() == [Delivered()]


async def test_accounts_from_before_the_limit_are_not_limited(mails: UnverifiedMails) -> None:
    user = await mails.has_unverified()
    del mails.store.tables.of("limited_accounts")[user.id]
    mails.booked(20)
    assert await mails.all_outcomes() == 20 * [Delivered()]


async def test_mail_without_a_recipient_is_left_to_the_sender(mails: UnverifiedMails) -> None:
    mails.mail.outcome = Failed("no recipient", permanent=True)
    mails.enqueued(MessageType.BOOKING_CREATED, user=None)
    assert await mails.all_outcomes() == [mails.mail.outcome]


async def test_verification_that_is_not_committed_releases_nothing(mails: UnverifiedMails) -> None:
    user = await mails.has_unverified()
    mails.booked(5)
    await mails.all_outcomes()
    async with mails.units() as work:
        await work.users.save(replace(user, is_verified=True))
    assert len(mails.held()) == 1


async def test_message_held_during_the_verification_is_released(mails: UnverifiedMails) -> None:
    """The worker has found the limit exhausted, the address is verified, the worker records that it holds the mail."""
    await mails.has_unverified()
    mails.booked(5)
    claims = MemoryOutboxClaims(mails.store, mails.clock)
    claimed = await claims.claim(Destination.EMAIL, limit=10, lease=MINUTE, probe_every=MINUTE)
    outcomes: list[tuple[Message, Outcome]] = [(each, await mails.sender.deliver(each)) for each in claimed]
    await mails.verifies()
    for message, outcome in outcomes:
        await claims.record_result(message, outcome, took=SECOND, retry_in=None)
    assert len(mails.held()) == 1, "without the periodic task it would stay"
    calls = mails.wake_ups.calls
    assert await mails.release() == 1
    assert mails.wake_ups.calls == calls + 1
    assert await mails.all_outcomes() == [Delivered()]


async def test_periodic_release_leaves_what_is_limited(mails: UnverifiedMails) -> None:
    await mails.has_unverified()
    mails.booked(5)
    await mails.all_outcomes()
    calls = mails.wake_ups.calls
    assert await mails.release() == 0
    assert (len(mails.held()), mails.wake_ups.calls) == (1, calls)


async def test_periodic_release_ends_when_nothing_is_left(mails: UnverifiedMails) -> None:
    user = await mails.has_unverified()
    mails.booked(AT_ONCE + 5)
    while await mails.outcomes():
        pass
    del mails.store.tables.of("limited_accounts")[user.id]
    assert await mails.release() == AT_ONCE + 1


async def test_held_message_does_not_block_its_ordering_key() -> None:
    deliveries = Deliveries()
    deliveries.enqueue(2, key="one")
    deliveries.crm.outcome = Held("ada@example.com", "held")
    await deliveries.deliver()
    deliveries.crm.outcome = Delivered()
    await deliveries.deliver()
    assert deliveries.statuses() == [MessageStatus.HELD, MessageStatus.DELIVERED]
