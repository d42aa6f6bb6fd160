"""The rules of administration: roles, approval of facilitators, deactivation."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from application.accounts.administration import ApproveFacilitator, GrantRole, SetAccountActive
from domain.accounts import (
    FacilitatorRegistration,
    InvalidCredentials,
    LastAdmin,
    OwnAccountProtected,
    Role,
    RoleNotRequested,
    User,
    UserId,
    UserNotFound,
)
from domain.bookings import BookingStatus, CancelReason
from domain.errors import Unauthenticated
from domain.events import Event, EventNotFound
from domain.outbox import Destination, MessageType
from tests.application.booking_application import BookingApplication, inr
from tests.support.memory.account_use_cases import ADDRESS, EMAIL, AccountUseCases, a_registration
from tests.support.memory.accounts import ProfileRow
from tests.support.memory.accounts_work import AccountUnitsOfWork
from tests.support.memory.claims import OutboxRow

BOTH_CALENDARS = {"calendar_feeds", "calendar_connections"}


@pytest.fixture
def accounts() -> AccountUseCases:
    return AccountUseCases()


async def requesting_facilitator(accounts: AccountUseCases) -> User:
    register = accounts.register(facilitators=FacilitatorRegistration.APPROVAL)
    return await register(a_registration(role=Role.FACILITATOR, bio="Yoga"), address=ADDRESS)


def set_active(accounts: AccountUseCases, *expire: Callable[[], Awaitable[int]]) -> SetAccountActive:
    return SetAccountActive(accounts.units, expire, accounts.clock)


# Roles


async def test_granted_role_is_set(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    changed = await GrantRole(accounts.units, accounts.clock)(EMAIL, role=Role.ADMIN)
    assert changed == replace(user, role=Role.ADMIN, token_version=2)
    assert accounts.users() == [changed]
    assert not accounts.profiles()


async def test_new_role_ends_every_login_and_keeps_calendars(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    logged_in = await accounts.has_logged_in()
    accounts.has_calendars(logged_in.user)
    await GrantRole(accounts.units, accounts.clock)(EMAIL, role=Role.ADMIN)

    assert accounts.end_reasons() == ["role changed"]
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(logged_in)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(logged_in.refresh_token)
    assert accounts.calendars_of(logged_in.user) == BOTH_CALENDARS
    await accounts.has_logged_in()


@pytest.mark.parametrize("role", Role)
async def test_granted_role_closes_a_pending_request(accounts: AccountUseCases, role: Role) -> None:
    await requesting_facilitator(accounts)
    await GrantRole(accounts.units, accounts.clock)(EMAIL, role=role)
    assert accounts.users()[0].requested_role is None


async def test_granted_facilitator_has_a_profile(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    await GrantRole(accounts.units, accounts.clock)(EMAIL, role=Role.FACILITATOR)
    assert accounts.profiles() == {user.id: ProfileRow(None, None)}


async def test_unknown_email_changes_no_account(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    unknown = "unknown@example.com"
    with pytest.raises(UserNotFound):
        await GrantRole(accounts.units, accounts.clock)(unknown, role=Role.ADMIN)
    with pytest.raises(UserNotFound):
        await ApproveFacilitator(accounts.units, accounts.clock)(unknown)
    with pytest.raises(UserNotFound):
        await set_active(accounts)(UserId(99), active=False)
    assert accounts.users() == [user]


# Admins


async def admins(accounts: AccountUseCases, number: int) -> list[User]:
    found = []
    for place in range(number):
        email = f"admin{place}@example.com"
        await accounts.has_registered(email=email)
        found.append(await GrantRole(accounts.units, accounts.clock)(email, role=Role.ADMIN))
    return found


async def test_admin_changes_another_account_by_its_id(accounts: AccountUseCases) -> None:
    [admin] = await admins(accounts, 1)
    user = await accounts.has_registered()
    assert (await GrantRole(accounts.units, accounts.clock)(user.id, role=Role.ADMIN, by=admin)).role is Role.ADMIN
    assert not (await set_active(accounts)(user.id, active=False, by=admin)).is_active


async def test_admins_do_not_change_their_own_role_or_activity(accounts: AccountUseCases) -> None:
    admin, other = await admins(accounts, 2)
    with pytest.raises(OwnAccountProtected):
        await GrantRole(accounts.units, accounts.clock)(admin.id, role=Role.USER, by=admin)
    with pytest.raises(OwnAccountProtected):
        await set_active(accounts)(admin.id, active=False, by=admin)
    assert accounts.users() == [admin, other]


async def test_last_active_admin_stays(accounts: AccountUseCases) -> None:
    admin, other = await admins(accounts, 2)
    await set_active(accounts)(other.id, active=False)
    before = accounts.users()
    with pytest.raises(LastAdmin):
        await GrantRole(accounts.units, accounts.clock)(admin.email, role=Role.FACILITATOR)
    with pytest.raises(LastAdmin):
        await set_active(accounts)(admin.id, active=False)
    assert accounts.users() == before
    await GrantRole(accounts.units, accounts.clock)(other.id, role=Role.USER)
    await GrantRole(accounts.units, accounts.clock)(admin.id, role=Role.ADMIN)
    await set_active(accounts)(admin.id, active=True)


async def test_second_admin_can_be_removed(accounts: AccountUseCases) -> None:
    admin, other = await admins(accounts, 2)
    await GrantRole(accounts.units, accounts.clock)(admin.id, role=Role.USER, by=other)
    assert [user.role for user in accounts.users()] == [Role.USER, Role.ADMIN]


# Approval


async def test_approved_facilitator_has_the_requested_role_and_profile(accounts: AccountUseCases) -> None:
    user = await requesting_facilitator(accounts)
    approved = await ApproveFacilitator(accounts.units, accounts.clock)(EMAIL)

    assert approved == replace(user, role=Role.FACILITATOR, requested_role=None, token_version=2)
    assert accounts.users() == [approved]
    assert accounts.profiles() == {user.id: ProfileRow("Yoga", None)}


async def test_approval_ends_every_login(accounts: AccountUseCases) -> None:
    await requesting_facilitator(accounts)
    logged_in = await accounts.has_logged_in()
    await ApproveFacilitator(accounts.units, accounts.clock)(EMAIL)
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(logged_in)
    assert accounts.end_reasons() == ["role changed"]


def sent(accounts: AccountUseCases) -> list[OutboxRow]:
    """Without the mails of registrations."""
    return [row for row in accounts.messages() if row.message_type is not MessageType.EMAIL_VERIFICATION]


async def test_approved_facilitator_receives_one_mail(accounts: AccountUseCases) -> None:
    user = await requesting_facilitator(accounts)
    await ApproveFacilitator(accounts.units, accounts.clock)(EMAIL)
    with pytest.raises(RoleNotRequested):
        await ApproveFacilitator(accounts.units, accounts.clock)(EMAIL)

    assert [(row.destination, row.message_type, row.ordering_key) for row in sent(accounts)] == [
        (Destination.EMAIL, MessageType.FACILITATOR_APPROVED, f"user:{user.id}")
    ]


async def test_account_that_does_not_wait_for_approval_is_not_approved(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    with pytest.raises(RoleNotRequested):
        await ApproveFacilitator(accounts.units, accounts.clock)(EMAIL)
    assert accounts.users() == [user]
    assert not sent(accounts)


async def test_granted_role_sends_no_mail(accounts: AccountUseCases) -> None:
    await requesting_facilitator(accounts)
    await GrantRole(accounts.units, accounts.clock)(EMAIL, role=Role.FACILITATOR)
    assert not sent(accounts)


# Deactivation


async def test_deactivation_ends_every_login_and_the_calendar_feed(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    logged_in = await accounts.has_logged_in()
    accounts.has_calendars(logged_in.user)
    changed = await set_active(accounts)(EMAIL, active=False)

    assert changed == replace(logged_in.user, is_active=False, token_version=2)
    assert accounts.end_reasons() == ["account deactivated"]
    assert accounts.calendars_of(logged_in.user) == {"calendar_connections"}
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(logged_in)
    with pytest.raises(Unauthenticated):
        await accounts.refresh()(logged_in.refresh_token)
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()


async def deactivated_facilitator(app: BookingApplication, event: Event, *, active: bool = False) -> AccountUnitsOfWork:
    """Returns the units of work of the operator."""
    units = AccountUnitsOfWork(app.store, app.clock)
    await SetAccountActive(units, [app.expire_holds], app.clock)(app.facilitator(event).email, active=active)
    return units


async def test_events_of_a_deactivated_facilitator_are_not_booked(app: BookingApplication) -> None:
    event, other, person = await app.event(), await app.event(), await app.person()
    await deactivated_facilitator(app, event)

    assert not app.stored_event(event.id).facilitator_active
    with pytest.raises(EventNotFound):
        await app.book_seat(person, event.id, None)
    await app.book_seat(person, other.id, None)


async def test_unpaid_holds_of_a_deactivated_facilitator_expire(app: BookingApplication) -> None:
    event, other = await app.event(), await app.event()
    held, of_another = await app.book(event), await app.book(other)
    units = await deactivated_facilitator(app, event)

    expired = app.booking(held.reserved.id)
    assert (expired.status, expired.cancel_reason) == (BookingStatus.CANCELLED, CancelReason.PAYMENT_EXPIRED)
    assert app.booking(of_another.reserved.id).status is BookingStatus.CONFIRMED
    assert units.appointment_holds.ended == [event.facilitator_id]


async def test_paid_and_free_bookings_of_a_deactivated_facilitator_stay(app: BookingApplication) -> None:
    facilitator = await app.person(Role.FACILITATOR)
    event, free = await app.event(facilitator), await app.event(facilitator, price=inr(0))
    bookings = [await app.paid(event), (await app.book(free)).reserved.id]
    await deactivated_facilitator(app, event)
    assert [app.booking(each).status for each in bookings] == [BookingStatus.CONFIRMED] * 2


async def test_activation_makes_the_events_available_again(app: BookingApplication) -> None:
    event = await app.event()
    held = await app.book(event)
    await deactivated_facilitator(app, event)
    units = await deactivated_facilitator(app, event, active=True)

    assert app.stored_event(event.id).facilitator_active
    await app.book(event)
    assert app.booking(held.reserved.id).status is BookingStatus.CANCELLED
    assert units.appointment_holds.ended == []


async def test_unpaid_holds_expire_until_none_is_left(accounts: AccountUseCases) -> None:
    """The holds are expired in batches, by use cases that return the number of expired ones."""
    await accounts.has_registered(role=Role.FACILITATOR)
    batches = {"bookings": [100, 3, 0], "appointments": [0]}

    def expire_batch(context: str) -> Callable[[], Awaitable[int]]:
        async def expire() -> int:
            assert not accounts.users()[0].is_active, "the deactivation is committed before"
            return batches[context].pop(0)

        return expire

    await set_active(accounts, *map(expire_batch, batches))(EMAIL, active=False)
    assert batches == {"bookings": [], "appointments": []}


async def test_activation_expires_no_holds(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered(role=Role.FACILITATOR)
    await set_active(accounts)(EMAIL, active=False)

    async def expire() -> int:
        raise AssertionError("an activation expires no holds")

    changed = await set_active(accounts, expire)(EMAIL, active=True)
    assert changed == replace(user, token_version=3)
    await accounts.has_logged_in()


async def test_activation_ends_every_login(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    logged_in = await accounts.has_logged_in()
    accounts.has_calendars(logged_in.user)
    await set_active(accounts)(EMAIL, active=True)
    assert accounts.end_reasons() == ["account activated"]
    assert accounts.calendars_of(logged_in.user) == {"calendar_connections"}
