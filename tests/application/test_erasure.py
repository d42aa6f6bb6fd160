"""The rules of the erasure of accounts: the request, and what the worker does."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from application.accounts.administration import GrantRole, SetAccountActive
from application.accounts.owner import ConfirmOwner
from application.calendars.removal import ENTRIES, RemoveCalendars
from application.erasure.requests import EraseOwnAccount, RequestErasure
from application.erasure.steps import CarryOutErasures
from application.notifications.erased_mail import MailToErased
from domain.accounts import InvalidCredentials, LastAdmin, Role, User, UserId
from domain.appointments import AppointmentStatus
from domain.bookings import BookingStatus, CancelReason
from domain.calendars import CalendarNotUnderstood, CalendarRefused, CalendarUnavailable, Provider
from domain.erasure import ERASED_NAME, LONGEST_WAIT, Erasure, ErasureInProgress, Identifiers, erased_email
from domain.errors import Unauthenticated, Unavailable
from domain.events import EventStatus
from domain.invitations import InvitationStatus
from domain.outbox import Delivered, MessageStatus, MessageType
from tests.application.calendar_application import CalendarApplication
from tests.application.deliveries import AnsweringSender
from tests.support.memory.account_use_cases import ADDRESS, EMAIL, PASSWORD, AccountUseCases
from tests.support.memory.audit_log import audit_entries
from tests.support.memory.claims import OutboxRow
from tests.support.memory.erasure import MemoryErasureStore, MemoryStoredMails
from tests.support.memory.rows import change_mails_in

DAY = timedelta(days=1)

# The request


class Requests(AccountUseCases):
    def __init__(self, grace: timedelta = timedelta(0)) -> None:
        super().__init__()
        self.request = RequestErasure(self.units, self.wake_ups, self.clock, grace)
        confirm = ConfirmOwner(self.units, self.hasher, self.guesses, self.clock)
        self.erase_own = EraseOwnAccount(confirm, self.request)
        self.set_active = SetAccountActive(self.units, (), self.clock)

    def erasures(self) -> list[Erasure]:
        return list(self.store.tables.of("erasures").values())


@pytest.fixture
def accounts() -> Requests:
    return Requests()


async def test_owner_requests_the_erasure_with_the_password(accounts: Requests) -> None:
    user = await accounts.has_registered()
    logged_in = await accounts.has_logged_in()
    actor = await accounts.is_authenticated(logged_in)
    with pytest.raises(InvalidCredentials):
        await accounts.erase_own(actor, password="wrong", address=ADDRESS)
    assert not accounts.erasures()

    erasure = await accounts.erase_own(actor, password=PASSWORD, address=ADDRESS)
    now = accounts.clock.now()
    assert accounts.erasures() == [erasure] == [Erasure(user.id, now, now)]
    assert accounts.end_reasons() == ["erasure requested"]
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(logged_in)
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()
    mail = accounts.messages()[-1]
    assert (mail.message_type, mail.payload["person"]["email"]) == (MessageType.ERASURE_REQUESTED, EMAIL)
    assert "account.erasure_requested" in [each.action for each in audit_entries(accounts.store)]


async def test_second_request_changes_nothing(accounts: Requests) -> None:
    await accounts.has_registered()
    first = await accounts.request(EMAIL)
    before = accounts.store.tables
    accounts.clock.advance(DAY)
    assert await accounts.request(EMAIL) == first
    assert accounts.store.tables == before


async def test_last_active_admin_is_not_erased(accounts: Requests) -> None:
    await accounts.has_registered()
    await GrantRole(accounts.units, accounts.clock)(EMAIL, role=Role.ADMIN)
    with pytest.raises(LastAdmin):
        await accounts.request(EMAIL)
    assert not accounts.erasures()
    assert accounts.users()[0].is_active


async def test_operator_withdraws_a_request_in_the_grace_period() -> None:
    accounts = Requests(grace=3 * DAY)
    user = await accounts.has_registered()
    erasure = await accounts.request(EMAIL)
    assert erasure.due_at == accounts.clock.now() + 3 * DAY
    assert await MemoryErasureStore(accounts.store, accounts.clock).list_due(accounts.clock.now(), limit=9) == []
    await accounts.set_active(EMAIL, active=True)
    assert not accounts.erasures()
    assert accounts.user(user.id).is_active
    await accounts.has_logged_in()


async def test_account_is_not_activated_once_its_erasure_is_due(accounts: Requests) -> None:
    user = await accounts.has_registered()
    await accounts.request(EMAIL)
    with pytest.raises(ErasureInProgress):
        await accounts.set_active(EMAIL, active=True)
    assert not accounts.user(user.id).is_active


# What the worker does


class FaultyStore(MemoryErasureStore):
    """`faults` are raised by the next erasures."""

    def __init__(self, app: CalendarApplication) -> None:
        super().__init__(app.store, app.clock)
        self.faults: list[Exception] = []

    async def erase(self, user_id: UserId, identifiers: Identifiers) -> bool:
        if self.faults:
            raise self.faults.pop(0)
        return await super().erase(user_id, identifiers)


class Erasures(CalendarApplication):
    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.mails = MemoryStoredMails()
        self.erasures = FaultyStore(self)
        self.request = RequestErasure(self.open_work, self.wake_ups, self.clock)
        self.remove_calendars = RemoveCalendars(self.open_work, self.access, self.disconnect)
        self.carry_out = CarryOutErasures(
            self.open_work,
            self.erasures,
            self.cancel_booking,
            self.cancel,
            self.cancel_event,
            self.remove_calendars,
            self.mails,
            self.wake_ups,
            self.clock,
        )

    def deliver_all(self) -> None:
        """As if the workers had delivered every message."""
        outbox: dict[object, OutboxRow] = self.store.tables.of("outbox")
        for key, row in outbox.items():
            outbox[key] = replace(row, status=MessageStatus.DELIVERED)

    async def erased(self, user: User) -> User:
        """The account after its erasure."""
        await self.request(user.id)
        for _ in range(5):
            self.deliver_all()
            if await self.carry_out():
                return self.user(user.id)
        raise AssertionError("not erased")

    def told_crm(self) -> Sequence[dict[str, object]]:
        return [each.payload for each in self.messages(MessageType.USER_ERASED)]


@pytest.fixture
def app() -> Erasures:
    return Erasures()


async def test_erased_account_has_no_personal_data(app: Erasures) -> None:
    user = await app.person()
    app.replace(replace(user, phone="+49 30 1", timezone="Europe/Berlin", external_id="subject"))
    app.mails.texts = [f"To: {user.email}", "To: other@example.com"]
    erased = await app.erased(user)
    assert (erased.name, erased.email) == (ERASED_NAME, erased_email(user.uuid))
    assert (erased.phone, erased.timezone, erased.external_id, erased.is_active) == (None, None, None, False)
    assert app.mails.texts == ["To: other@example.com"]
    assert app.told_crm() == [{"user": {"id": user.id}}]
    assert "account.erased" in [each.action for each in audit_entries(app.store)]
    assert await app.carry_out() == 0
    assert len(app.told_crm()) == 1


async def test_what_is_ahead_is_cancelled_as_by_the_person(app: Erasures) -> None:
    user = await app.person(Role.FACILITATOR)
    others, own = await app.event(), await app.event(user)
    booking, sold = await app.paid(others, user), await app.paid(own)
    session = await app.booked(client=await app.person(), coach=await app.coach())
    app.replace(replace(app.user(user.id)))
    await app.invite(app.facilitator(others := await app.event()), others.id, name="A name", email=user.email)
    await app.erased(user)
    assert app.booking(booking).cancel_reason is CancelReason.BY_PERSON
    assert app.booking(sold).cancel_reason is CancelReason.EVENT_CANCELLED
    assert app.stored_event(own.id).status is EventStatus.CANCELLED
    assert sorted(amount.amount for amount, _ in app.refunded()) == [100, 100]
    [invitation] = app.store.tables.of("invitations").values()
    assert invitation.status is InvitationStatus.DECLINED
    assert app.stored_event(others.id).booked == 0
    assert app.stored(session.appointment.id).status is not AppointmentStatus.CANCELLED


async def test_appointments_of_clients_and_coaches_are_cancelled(app: Erasures) -> None:
    client, coach = await app.person(), await app.free_coach()
    sessions = [
        await app.booked(coach, client),
        await app.booked(coach, hour=12),
        await app.booked(None, client, hour=14),
    ]
    await app.erased(client)
    assert [app.stored(each.appointment.id).status for each in sessions] == [
        AppointmentStatus.CANCELLED,
        AppointmentStatus.PENDING,
        AppointmentStatus.CANCELLED,
    ]
    await app.erased(coach)
    assert app.stored(sessions[1].appointment.id).status is AppointmentStatus.CANCELLED


async def test_erasure_waits_for_messages_about_the_person(app: Erasures) -> None:
    user = await app.person()
    await app.paid(await app.event(), user)
    await app.request(user.id)
    assert [await app.carry_out() for _ in range(3)] == [0, 0, 0]
    assert app.user(user.id).name == user.name
    app.deliver_all()
    assert await app.carry_out() == 1


async def test_mail_about_a_change_that_waits_is_superseded_by_the_cancellation() -> None:
    app = Erasures(change_mail_window=timedelta(minutes=5))
    user = await app.person(Role.FACILITATOR)
    own, others = await app.event(user), await app.event()
    await app.paid(own)
    await app.paid(others, user)
    for event in (own, others):
        await app.update_event(app.facilitator(event), event.id, lambda old: app.changed(old, title="Pilates"))
    assert len(change_mails_in(app.store.tables)) == 2
    await app.erased(user)
    assert change_mails_in(app.store.tables) == {}
    assert app.messages(MessageType.BOOKING_MOVED) == []
    assert {row.ordering_key for row in app.messages(MessageType.BOOKING_CANCELLED)} >= {"booking:1", "booking:2"}


async def test_erasure_goes_on_after_a_day_of_waiting(app: Erasures) -> None:
    user = await app.person()
    await app.connected(user)
    await app.paid(await app.event(), user)
    await app.request(user.id)
    app.google.faults.extend([CalendarUnavailable()] * 9)
    assert await app.carry_out() == 0
    app.clock.advance(LONGEST_WAIT)
    assert await app.carry_out() == 1
    assert not app.store.tables.of("calendar_connections")


async def test_entries_are_removed_from_calendars_which_are_disconnected(app: Erasures) -> None:
    coach = await app.connected_coach()
    await app.booked(coach)
    await app.run()
    assert len(app.google.entries) == 1
    await app.erased(coach)
    assert not app.google.entries
    assert not app.stored_entries()
    assert app.google.revoked
    assert not app.store.tables.of("calendar_connections")


@pytest.mark.parametrize("fault", [CalendarUnavailable(), CalendarNotUnderstood()])
async def test_calendar_that_fails_is_tried_again(app: Erasures, fault: Exception) -> None:
    coach = await app.connected_coach()
    await app.booked(coach)
    await app.run()
    app.google.faults.append(fault)  # type: ignore[arg-type]
    assert not await app.remove_calendars(coach.id, force=False)
    assert len(app.google.entries) == 1
    assert await app.remove_calendars(coach.id, force=False)
    assert not app.google.entries


async def test_erasure_waits_for_a_calendar(app: Erasures) -> None:
    coach = await app.connected_coach()
    await app.in_status(AppointmentStatus.COMPLETED)
    await app.booked(coach)
    await app.run()
    await app.request(coach.id)
    app.deliver_all()
    assert await app.carry_out() == 0
    app.deliver_all()
    app.google.faults.append(CalendarUnavailable())
    assert await app.carry_out() == 0
    assert app.user(coach.id).name == coach.name
    assert await app.carry_out() == 1


async def test_entry_that_cannot_be_removed_does_not_delay(app: Erasures) -> None:
    coach = await app.connected_coach()
    await app.booked(coach)
    await app.run()
    app.google.faults.append(CalendarRefused())
    assert await app.remove_calendars(coach.id, force=False)
    assert not app.stored_entries()


async def test_calendar_that_is_disconnected_meanwhile_is_left(app: Erasures) -> None:
    coach = await app.connected_coach()
    appointment = await app.appointment(coach)
    await app.run()
    remove = app.remove_calendars
    await remove._remove_entry(coach.id, Provider.OUTLOOK, appointment)
    assert len(app.google.entries) == 1
    app.store.tables.of("appointments").pop(appointment)
    assert await remove(coach.id, force=False)
    assert not app.stored_entries()


async def test_many_entries_are_removed_by_several_calls(app: Erasures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("application.calendars.removal.ENTRIES", 1)
    assert ENTRIES > 1
    coach = await app.connected_coach()
    await app.booked(coach)
    await app.booked(coach, hour=12)
    await app.run()
    assert [await app.remove_calendars(coach.id, force=False) for _ in range(3)] == [False, False, True]
    assert not app.google.entries


async def test_failed_erasure_is_repeated_and_delays_no_other(app: Erasures, caplog: pytest.LogCaptureFixture) -> None:
    first, second = await app.person(), await app.person()
    for user in (first, second):
        await app.request(user.id)
    app.deliver_all()
    app.erasures.faults.append(ValueError("a fault"))
    assert await app.carry_out() == 1
    assert "erasure_failed" in caplog.text
    assert await app.carry_out() == 1
    assert [app.user(user.id).name for user in (first, second)] == [ERASED_NAME] * 2


async def test_unavailable_database_ends_the_call(app: Erasures) -> None:
    user = await app.person()
    await app.request(user.id)
    app.deliver_all()
    app.erasures.faults.append(Unavailable())
    with pytest.raises(Unavailable):
        await app.carry_out()
    assert await app.carry_out() == 1


async def test_request_that_is_withdrawn_meanwhile_is_not_carried_out(
    app: Erasures, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await app.person()

    async def listed(*_: object, **__: object) -> list[UserId]:
        return [user.id]

    monkeypatch.setattr(app.erasures, "list_due", listed)
    assert await app.carry_out() == 0
    assert app.user(user.id) == user


async def test_booking_that_ends_concurrently_is_left(app: Erasures, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await app.person(Role.FACILITATOR)
    own, others = await app.event(user), await app.event()
    booking = await app.paid(others, user)
    session = await app.booked(client=user) if user.role is Role.USER else await app.booked(await app.free_coach())
    found = await app.erasures.find_ahead(user.id, app.clock.now(), limit=9)
    assert (found.events, found.bookings) == ([own.id], [booking])
    await app.cancel_booking(user, booking)
    await app.cancel_event(user, own.id)
    await app.cancel(app.client_of(session.appointment.id), session.appointment.id)

    async def stale(*_: object, **__: object) -> object:
        return replace(found, appointments=[session.appointment.id])

    monkeypatch.setattr(app.erasures, "find_ahead", stale)
    await app.request(user.id)
    app.deliver_all()
    assert await app.carry_out() == 0
    monkeypatch.undo()
    assert await app.carry_out() == 1
    assert app.booking(booking).status is BookingStatus.CANCELLED


# Later mails


async def test_no_mail_is_sent_to_an_erased_account(app: Erasures) -> None:
    user = await app.person()
    booking = await app.paid(await app.event(), user)
    mail = AnsweringSender()
    sender = MailToErased(mail)
    message = app._message(app.messages(MessageType.BOOKING_CREATED)[0])
    erased = replace(message, payload={"user": {"email": erased_email(user.uuid)}})
    assert await sender.deliver(erased) == Delivered("not sent: the account was erased")
    assert not mail.received
    for payload in ({"user": {"email": user.email}}, {"event": {"id": 1}}):
        await sender.deliver(replace(message, payload=payload))
    assert len(mail.received) == 2
    assert booking
