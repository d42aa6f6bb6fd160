"""What the audit log records: who did what, on what. Repositories record it, so use cases have nothing to forget."""

from dataclasses import replace

import pytest

from application.accounts.administration import ApproveFacilitator, GrantRole, SetAccountActive
from application.accounts.external_identity import SignInWithIdentity
from application.accounts.profile import ChangePassword, UpdateProfile
from application.appointments.changes import CancelAppointment
from application.audit.ports import ORIGIN, AuditFilter, by_operator
from application.audit.start import RecordSettings
from application.outbox.dead_letters import ReplayMessage, ReplayMessages
from application.ports import PageRequest
from domain.accounts import FacilitatorRegistration, InvalidCredentials, PasswordPolicy, Role, User
from domain.audit import AuditAction, AuditActor, AuditOrigin, StoredAuditEntry, actor_of
from domain.credentials import Credential
from domain.errors import Unauthenticated
from domain.external_identity import ExternalIdentity
from domain.payments import RefundUpdate
from tests.application.appointment_application import AppointmentApplication
from tests.application.booking_application import BookingApplication, inr
from tests.application.deliveries import CRM, Deliveries
from tests.support.memory.account_use_cases import ADDRESS, EMAIL, PASSWORD, AccountUseCases, a_registration
from tests.support.memory.audit_log import MemoryAuditLog, audit_entries
from tests.support.memory.store import CountedWakeUps, Store


@pytest.fixture
def accounts() -> AccountUseCases:
    return AccountUseCases()


def actions(store: Store) -> list[str]:
    return [entry.action for entry in audit_entries(store)]


def last(store: Store) -> StoredAuditEntry:
    return audit_entries(store)[-1]


def about(entry: StoredAuditEntry) -> tuple[str, str, str | None]:
    return entry.action, entry.audited.kind, entry.audited.id


# Accounts


async def test_registration_and_login_are_recorded(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    assert about(last(accounts.store)) == ("account.created", "account", str(user.id))
    assert last(accounts.store).after == {
        "role": "user",
        "is_active": True,
        "is_verified": False,
        "identity_linked": False,
    }
    await accounts.has_logged_in()
    assert about(last(accounts.store)) == ("login.succeeded", "account", str(user.id))
    assert last(accounts.store).actor == AuditActor("account", str(user.id))


async def test_failed_login_is_recorded_with_a_keyed_hash_of_the_address(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    for email in (EMAIL, EMAIL, "stranger@example.com"):
        with pytest.raises(InvalidCredentials):
            await accounts.has_logged_in(email=email, password="a wrong one")
    known, again, unknown = audit_entries(accounts.store)[-3:]
    assert about(known) == about(again) == ("login.failed", "account", str(user.id))
    assert known.after == again.after
    assert unknown.after is not None
    assert about(unknown) == ("login.failed", "address", unknown.after["address"])
    assert unknown.after != known.after
    assert "example.com" not in repr(audit_entries(accounts.store))


async def test_login_to_a_deactivated_account_is_recorded_as_failed(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    await SetAccountActive(accounts.units, [], accounts.clock)(EMAIL, active=False)
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()
    assert about(last(accounts.store)) == ("login.failed", "account", str(user.id))


async def test_new_password_is_recorded_and_no_hash_of_it(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    actor = await accounts.is_authenticated(await accounts.has_logged_in())
    change = ChangePassword(
        accounts.units, accounts.hasher, accounts.guesses, accounts.wake_ups, accounts.clock, PasswordPolicy.CONTRACT
    )
    await change(actor, current=PASSWORD, new="another good password", address=ADDRESS)
    assert actions(accounts.store)[-2:] == ["password.changed", "sessions.ended"]
    assert last(accounts.store).after == {"reason": "password changed"}
    assert "another good password" not in repr(audit_entries(accounts.store))


async def test_new_hash_of_the_same_password_is_not_recorded(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    accounts.hasher.method = "newer"
    await accounts.has_logged_in()
    assert actions(accounts.store) == ["account.created", "login.succeeded"]


async def test_ends_of_sessions_are_recorded(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    first, second = await accounts.has_logged_in(), await accounts.has_logged_in()
    await accounts.log_out(await accounts.is_authenticated(first))
    assert last(accounts.store).action == "session.ended"
    await accounts.refresh()(second.refresh_token)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(second.refresh_token)
    assert last(accounts.store).after == {"reason": "refresh token used twice"}
    await accounts.log_out(await accounts.is_authenticated(await accounts.has_logged_in()), everywhere=True)
    assert last(accounts.store).action == "sessions.ended"


async def test_administration_is_recorded_with_the_values_before_and_after(accounts: AccountUseCases) -> None:
    register = accounts.register(facilitators=FacilitatorRegistration.APPROVAL)
    await register(a_registration(role=Role.FACILITATOR), address=ADDRESS)
    await ApproveFacilitator(accounts.units, accounts.clock)(EMAIL)
    approved = audit_entries(accounts.store)[1]
    assert (approved.action, approved.before, approved.after) == (
        AuditAction.ROLE_CHANGED,
        {"role": "user"},
        {"role": "facilitator"},
    )
    await GrantRole(accounts.units, accounts.clock)(EMAIL, role=Role.USER)
    activity = SetAccountActive(accounts.units, [], accounts.clock)
    await activity(EMAIL, active=False)
    await activity(EMAIL, active=True)
    assert [each for each in actions(accounts.store) if each.startswith("account.")] == [
        *("account.created", "account.role_changed", "account.role_changed"),
        *("account.deactivated", "account.activated"),
    ]


async def test_linked_identity_that_proves_the_address_is_recorded(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    identity = ExternalIdentity("google", "subject", EMAIL, email_verified=True, name=None, picture=None)
    sign_in = SignInWithIdentity(accounts.units, accounts.start_login, accounts.wake_ups, accounts.clock)
    await sign_in(identity, address=ADDRESS)
    assert actions(accounts.store)[1:] == [
        *("account.verified", "account.identity_changed", "sessions.ended", "password.removed", "factors.removed"),
        "login.succeeded",
    ]


async def test_revocation_is_recorded_by_what_it_ends(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    for revoked in (set[Credential](), {Credential.CALENDAR_FEED}, {Credential.PASSWORD}):
        async with accounts.units() as work:
            await work.access.revoke(user.id, revoked, accounts.clock.now(), reason="a test")
            await work.commit()
    assert actions(accounts.store) == ["account.created", "password.removed"]


async def test_new_name_is_not_recorded(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    actor = await accounts.is_authenticated(await accounts.has_logged_in())
    await UpdateProfile(accounts.units)(actor, name="Augusta", phone="+44 20", timezone=None)
    assert actions(accounts.store) == ["account.created", "login.succeeded"]


async def test_actor_and_network_are_those_of_the_origin(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    assert (last(accounts.store).actor.kind, last(accounts.store).network) == ("system", None)
    admin = replace(user, role=Role.ADMIN)
    token = ORIGIN.set(lambda: AuditOrigin(actor_of(admin), ADDRESS, "the request"))
    try:
        await GrantRole(accounts.units, accounts.clock)(EMAIL, role=Role.FACILITATOR)
        entry = last(accounts.store)
        assert (entry.actor, entry.request_id) == (AuditActor("admin", str(user.id)), "the request")
        assert entry.network
        assert ADDRESS not in entry.network
        ORIGIN.set(by_operator)
        await GrantRole(accounts.units, accounts.clock)(EMAIL, role=Role.USER)
        assert last(accounts.store).actor.kind == "operator"
    finally:
        ORIGIN.reset(token)


async def test_change_that_is_rolled_back_is_not_recorded(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    async with accounts.units() as work:
        await work.users.set_password(user.id, "a hash")
    assert actions(accounts.store) == ["account.created"]


async def test_start_of_a_process_is_recorded_with_its_settings(accounts: AccountUseCases) -> None:
    await RecordSettings(accounts.units, "worker", {"refresh_token_days": 30})()
    assert about(last(accounts.store)) == ("settings.loaded", "settings", "worker")
    assert last(accounts.store).after == {"refresh_token_days": 30}


# Events, bookings, refunds


@pytest.fixture
def app() -> BookingApplication:
    return BookingApplication()


def of(store: Store, kind: str) -> list[str]:
    return [entry.action for entry in audit_entries(store) if entry.audited.kind == kind]


async def test_events_are_recorded_with_hashes_of_their_texts(app: BookingApplication) -> None:
    event = await app.event(title="Ada's birthday", price=inr(100))
    user = app.facilitator(event)
    await app.update_event(user, event.id, lambda details: replace(details, title="Hers", price=inr(120)))
    changed = last(app.store)
    assert (changed.action, changed.audited.id) == ("event.changed", str(event.id))
    assert changed.before is not None
    assert changed.after is not None
    assert (changed.before["price"], changed.after["price"]) == ("100", "120")
    assert changed.before.keys() == changed.after.keys() == {"price", "title"}
    await app.cancel_event(user, event.id)
    await app.delete_event(user, event.id)
    assert of(app.store, "event") == ["event.created", "event.changed", "event.cancelled", "event.deleted"]
    assert "birthday" not in repr(audit_entries(app.store))


async def test_booking_and_cancellation_by_the_client_are_not_recorded(app: BookingApplication) -> None:
    event = await app.event()
    before = len(audit_entries(app.store))
    person = await app.person()
    booking = await app.book(event, person)
    await app.cancel_booking(person, booking.reserved.id)
    assert actions(app.store)[before:] == ["account.created"]


async def test_cancellation_by_others_and_its_refund_are_recorded(app: BookingApplication) -> None:
    event = await app.event(price=inr(100))
    booking_id = await app.paid(event)
    await app.cancel_participant(app.facilitator(event), booking_id)
    cancelled, refund = audit_entries(app.store)[-2:]
    assert about(cancelled) == ("booking.cancelled", "booking", str(booking_id))
    assert about(refund) == ("refund.requested", "payment", str(app.payment_id(booking_id)))
    assert refund.after is not None
    assert (refund.after["amount"], refund.after["currency"]) == ("100", "INR")


async def test_refunds_of_a_cancelled_event_are_one_entry(app: BookingApplication) -> None:
    event = await app.event(price=inr("100.50"))
    for _ in range(2):
        await app.paid(event)
    await app.cancel_event(app.facilitator(event), event.id)
    assert of(app.store, "payment") == []
    [refunds] = [entry for entry in audit_entries(app.store) if entry.action == "refund.requested"]
    assert (refunds.audited.id, refunds.after) == (str(event.id), {"refunds": 2, "INR": "201"})


async def test_refund_at_the_gateway_is_recorded(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event(price=inr(100)))
    payment = app.payment(booking_id)
    await app.receives(RefundUpdate("refund 1", payment.gateway_id or "", inr(40), succeeded=True))
    assert about(last(app.store)) == ("refund.recorded", "payment", str(payment.id))
    assert last(app.store).actor.kind == "system"


async def test_cancellation_of_an_appointment_by_the_coach_is_recorded() -> None:
    app = AppointmentApplication()
    cancel: CancelAppointment = app.cancel
    for by_coach in (False, True):
        appointment = await app.appointment(await app.free_coach())
        by: User = app.coach_of(appointment) if by_coach else app.client_of(appointment)
        await cancel(by, appointment)
        assert (last(app.store).action == "appointment.cancelled") is by_coach
    assert last(app.store).audited.id == str(appointment)


# Outbox


async def test_decisions_on_messages_are_recorded() -> None:
    deliveries = Deliveries()
    replay = ReplayMessage(deliveries.dead_letters, CountedWakeUps())
    message_id = await deliveries.has_dead()
    await replay(message_id)
    assert about(last(deliveries.store)) == ("outbox.replayed", "message", str(message_id))
    replay_all = ReplayMessages(deliveries.dead_letters, CountedWakeUps())
    await replay_all(destination=CRM, since=None)
    assert len(actions(deliveries.store)) == 1, "no message matched"
    await deliveries.has_dead()
    await replay_all(destination=CRM, since=None)
    assert about(last(deliveries.store)) == ("outbox.replayed", "destination", str(CRM))
    assert last(deliveries.store).after == {"messages": 1, "since": None}
    await deliveries.dead_letters.discard(await deliveries.has_dead())
    await deliveries.has_dead()
    await deliveries.dead_letters.discard_all(destination=None, since=deliveries.clock.moment)
    assert actions(deliveries.store)[-2:] == ["outbox.discarded", "outbox.discarded"]


async def test_entries_are_listed_by_what_they_are_about(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    await accounts.has_logged_in()
    log = MemoryAuditLog(accounts.store, accounts.clock)
    page = await log.list(AuditFilter(object_kind="account", object_id=str(user.id)), PageRequest(1))
    assert [entry.action for entry in page.items] == ["login.succeeded"]
    assert len((await log.list(AuditFilter(), PageRequest(10))).items) == 2
