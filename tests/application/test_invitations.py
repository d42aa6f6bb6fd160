"""Rules of participants whom a facilitator adds by hand."""

from dataclasses import replace
from datetime import datetime

import pytest

from application.bookings.invitations import INVITATIONS_PER_RECIPIENT, INVITATIONS_PER_SENDER
from application.ports import PageRequest
from domain.accounts import EmailTaken, Role, User
from domain.bookings import BookingStatus
from domain.errors import DomainError, Invalid, TooManyRequests, Unavailable
from domain.events import (
    AlreadyBooked,
    Event,
    EventCancelled,
    EventForbidden,
    EventFull,
    EventStarted,
)
from domain.external_identity import AccountDeactivated
from domain.invitations import (
    AlreadyInvited,
    HasBooking,
    Invitation,
    InvitationNotFound,
    InvitationOver,
    InvitationStatus,
)
from domain.outbox import Destination, MessageType
from domain.payments import PaymentStatus
from tests.application.booking_application import DAY, HOUR, BookingApplication, inr
from tests.support.memory.accounts import MemoryUsers

GUEST = "guest@example.com"


async def invited(app: BookingApplication, event: Event, email: str = GUEST) -> Invitation:
    return await app.invite(app.facilitator(event), event.id, name="Guest", email=email)


def link(app: BookingApplication, invitation: Invitation) -> str:
    return app.tokens.token(invitation.id)


def stored(app: BookingApplication, invitation: Invitation) -> Invitation:
    found: Invitation = app.store.tables.of("invitations")[invitation.id]
    return found


async def test_seat_is_reserved_immediately_and_mailed(app: BookingApplication) -> None:
    event = await app.event(capacity=1)
    invitation = await invited(app, event)
    assert app.stored_event(event.id).booked == 1
    assert app.sent(MessageType.BOOKING_INVITATION) == [(f"invitation:{invitation.id}", Destination.EMAIL)]
    with pytest.raises(EventFull):
        await app.book(event)


async def test_invitation_ends_after_72_hours_or_at_the_start(app: BookingApplication) -> None:
    assert (await invited(app, await app.event())).expires_at == app.clock.now() + 72 * HOUR
    soon = await app.event(starts_in=DAY)
    assert (await invited(app, soon)).expires_at == soon.details.interval.starts_at


async def test_invitation_does_not_reveal_whether_an_account_exists(app: BookingApplication) -> None:
    event = await app.event()
    await app.person(email="known@example.com")
    known, unknown = await invited(app, event, "known@example.com"), await invited(app, event)
    assert replace(known, id=unknown.id, email=unknown.email) == unknown


async def test_confirmation_turns_the_seat_into_a_free_booking_of_the_account(app: BookingApplication) -> None:
    event = await app.event()
    user = await app.person(email=GUEST)
    invitation = await invited(app, event)
    await app.answer.confirm(link(app, invitation))
    (booking,) = app.bookings_of(event)
    assert (booking.user_id, booking.price, booking.payment_status) == (user.id, inr(0), PaymentStatus.NOT_REQUIRED)
    assert app.stored_event(event.id).booked == 1
    assert stored(app, invitation).booking_id == booking.id
    assert len(app.messages(MessageType.BOOKING_CREATED)) == 3


async def test_confirmation_creates_an_account_with_a_proven_address(app: BookingApplication) -> None:
    event = await app.event()
    invitation = await invited(app, event)
    await app.answer.confirm(link(app, invitation))
    (booking,) = app.bookings_of(event)
    user = app.user(booking.user_id)
    assert (user.email, user.name, user.role, user.is_verified) == (GUEST, "Guest", Role.USER, True)


async def test_declining_releases_the_seat(app: BookingApplication) -> None:
    event = await app.event()
    invitation = await invited(app, event)
    await app.answer.decline(link(app, invitation))
    assert app.stored_event(event.id).booked == 0
    assert stored(app, invitation).status is InvitationStatus.DECLINED


async def test_invitation_is_answered_once(app: BookingApplication) -> None:
    event = await app.event()
    token = link(app, await invited(app, event))
    await app.answer.confirm(token)
    for answer in (app.answer.confirm, app.answer.decline):
        with pytest.raises(InvitationOver):
            await answer(token)
    assert len(app.bookings_of(event)) == 1


@pytest.mark.parametrize("end", ["expired", "started", "cancelled", "deactivated"])
async def test_invitation_that_is_over_cannot_be_confirmed(app: BookingApplication, end: str) -> None:
    event = await app.event(starts_in=DAY if end == "started" else 7 * DAY)
    invitation = await invited(app, event)
    match end:
        case "expired":
            app.clock.advance(72 * HOUR)
        case "started":
            app.clock.advance(DAY)
        case "cancelled":
            await app.cancel_event(app.facilitator(event), event.id)
        case "deactivated":
            app.deactivate(app.facilitator(event))
    assert not (await app.answer.show(link(app, invitation))).is_open
    with pytest.raises(InvitationOver):
        await app.answer.confirm(link(app, invitation))
    assert app.bookings_of(event) == []


async def test_seat_is_released_if_the_account_has_booked_meanwhile(app: BookingApplication) -> None:
    event, user = await app.event(), await app.person(email=GUEST)
    invitation = await invited(app, event)
    await app.book(event, user)
    with pytest.raises(AlreadyBooked):
        await app.answer.confirm(link(app, invitation))
    assert app.stored_event(event.id).booked == 1
    assert stored(app, invitation).status is InvitationStatus.WITHDRAWN


async def test_deactivated_account_cannot_confirm(app: BookingApplication) -> None:
    event = await app.event()
    app.deactivate(await app.person(email=GUEST))
    with pytest.raises(AccountDeactivated):
        await app.answer.confirm(link(app, await invited(app, event)))


async def test_link_with_another_secret_is_not_found(app: BookingApplication) -> None:
    for answer in (app.answer.show, app.answer.confirm, app.answer.decline):
        with pytest.raises(InvitationNotFound):
            await answer("forged")


async def test_address_is_invited_once_to_an_event(app: BookingApplication) -> None:
    event = await app.event()
    invitation = await invited(app, event)
    with pytest.raises(AlreadyInvited):
        await invited(app, event)
    await app.answer.decline(link(app, invitation))
    await invited(app, event)


async def test_address_with_a_booking_is_not_invited(app: BookingApplication) -> None:
    event, user = await app.event(), await app.person(email=GUEST)
    booking = (await app.book(event, user)).reserved
    with pytest.raises(HasBooking):
        await invited(app, event)
    await app.cancel_booking(user, booking.id)
    await invited(app, event)


async def test_full_cancelled_and_started_events_have_no_invitations(app: BookingApplication) -> None:
    full, cancelled, started = await app.event(capacity=1), await app.event(), await app.event(starts_in=HOUR)
    await app.book(full)
    await app.cancel_event(app.facilitator(cancelled), cancelled.id)
    app.clock.advance(HOUR)
    errors: list[tuple[Event, type[DomainError]]] = [
        (full, EventFull),
        (cancelled, EventCancelled),
        (started, EventStarted),
    ]
    for event, error in errors:
        with pytest.raises(error):
            await invited(app, event)
        facilitator = app.facilitator(event)
        assert app.limits.counted(INVITATIONS_PER_SENDER, str(facilitator.id)) == 0
        assert app.limits.counted(INVITATIONS_PER_RECIPIENT, GUEST) == 0


async def test_only_the_facilitator_and_admins_invite_and_withdraw(app: BookingApplication) -> None:
    event = await app.event()
    invitation = await invited(app, event)
    strangers: list[User] = [await app.person(Role.FACILITATOR), await app.person()]
    for user in strangers:
        with pytest.raises(EventForbidden):
            await app.invite(user, event.id, name="Guest", email="other@example.com")
        with pytest.raises(EventForbidden):
            await app.withdraw(user, invitation.id)
        with pytest.raises(EventForbidden):
            await app.list_invitations(user, event.id, PageRequest())
    await app.withdraw(await app.person(Role.ADMIN), invitation.id)


async def test_sender_and_address_have_limits(app: BookingApplication) -> None:
    facilitator = await app.person(Role.FACILITATOR)
    for _ in range(INVITATIONS_PER_RECIPIENT.times):
        await invited(app, await app.event(facilitator))
    with pytest.raises(TooManyRequests):
        await invited(app, await app.event(facilitator))
    # The rejected invitation does not count for its sender.
    assert app.limits.counted(INVITATIONS_PER_SENDER, str(facilitator.id)) == INVITATIONS_PER_RECIPIENT.times
    app.clock.advance(DAY)
    await invited(app, await app.event(facilitator))


@pytest.mark.parametrize(("name", "email"), [("x" * 121, GUEST), ("Guest", "gäst@example.com")])
async def test_name_and_address_are_checked(app: BookingApplication, name: str, email: str) -> None:
    event = await app.event()
    with pytest.raises(Invalid):
        await app.invite(app.facilitator(event), event.id, name=name, email=email)


async def test_withdrawn_invitation_releases_its_seat(app: BookingApplication) -> None:
    event = await app.event()
    invitation = await invited(app, event)
    await app.withdraw(app.facilitator(event), invitation.id)
    assert app.stored_event(event.id).booked == 0
    with pytest.raises(InvitationOver):
        await app.withdraw(app.facilitator(event), invitation.id)
    with pytest.raises(InvitationOver):
        await app.answer.confirm(link(app, invitation))


async def test_expired_invitations_release_their_seats(app: BookingApplication) -> None:
    event = await app.event()
    invitation = await invited(app, event)
    app.clock.advance(72 * HOUR - HOUR)
    assert await app.expire_invitations() == 0
    app.clock.advance(HOUR)
    assert await app.expire_invitations() == 1
    assert app.stored_event(event.id).booked == 0
    assert stored(app, invitation).status is InvitationStatus.EXPIRED
    assert await app.expire_invitations() == 0


@pytest.mark.parametrize("end", ["cancelled", "deleted"])
async def test_ended_event_has_released_the_seats_of_its_invitations(app: BookingApplication, end: str) -> None:
    event = await app.event()
    invitation = await invited(app, event)
    ending = app.cancel_event if end == "cancelled" else app.delete_event
    await ending(app.facilitator(event), event.id)
    assert stored(app, invitation).status is InvitationStatus.WITHDRAWN
    assert app.stored_event(event.id).booked == 0


async def test_invitations_of_an_event_are_listed_newest_first(app: BookingApplication) -> None:
    event = await app.event()
    invitations = [await invited(app, event, f"guest{number}@example.com") for number in range(3)]
    page = await app.list_invitations(app.facilitator(event), event.id, PageRequest())
    assert page.items == invitations[::-1]


async def test_repeated_requests_return_the_same_invitation(app: BookingApplication) -> None:
    event = await app.event()
    first, second = await app.repeated(lambda: invited(app, event))
    assert first == second
    once, again = await app.repeated(lambda: app.withdraw(app.facilitator(event), first.id))
    assert once == again
    assert once.status is InvitationStatus.WITHDRAWN


async def test_confirmed_booking_can_be_cancelled(app: BookingApplication) -> None:
    event = await app.event()
    await app.answer.confirm(link(app, await invited(app, event)))
    (booking,) = app.bookings_of(event)
    assert await app.cancel_booking(app.user(booking.user_id), booking.id) is None
    assert app.booking(booking.id).status is BookingStatus.CANCELLED


@pytest.mark.parametrize("failures", [1, 3])
async def test_account_that_a_concurrent_request_has_created_is_used(
    app: BookingApplication, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    add, calls = MemoryUsers.add_without_password, []

    async def taken(users: MemoryUsers, *, email: str, name: str, now: datetime) -> User:
        calls.append(email)
        if len(calls) <= failures:
            raise EmailTaken
        return await add(users, email=email, name=name, now=now)

    event = await app.event()
    token = link(app, await invited(app, event))
    monkeypatch.setattr(MemoryUsers, "add_without_password", taken)
    if failures == 1:
        await app.answer.confirm(token)
        assert len(app.bookings_of(event)) == 1
    else:
        with pytest.raises(Unavailable):
            await app.answer.confirm(token)


async def test_invitation_that_was_answered_or_prolonged_meanwhile_does_not_expire(app: BookingApplication) -> None:
    """After the search for expired invitations."""
    event = await app.event()
    pending, declined = await invited(app, event), await invited(app, event, "other@example.com")
    await app.answer.decline(link(app, declined))
    for invitation in (pending, declined):
        assert not await app.expire_invitations._expire(invitation.id)
    assert app.stored_event(event.id).booked == 1
