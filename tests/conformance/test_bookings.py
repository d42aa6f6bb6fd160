"""The ports of bookings, in memory and in PostgreSQL. Concurrent reservations are tested on PostgreSQL alone."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from application.bookings.ports import BookingFilter
from application.ports import PageRequest
from domain.accounts import Role
from domain.bookings import BookingNotFound, BookingStatus, CancelReason
from domain.events import EventId, EventNotFound, EventStatus
from domain.ids import BookingId, BookingRef
from domain.invitations import InvitationId, InvitationNotFound, InvitationStatus
from domain.outbox import Destination, MessageType
from domain.participant_messages import ParticipantMessage
from domain.payments import PaymentStatus
from infrastructure.postgres.domain_events import UnrecordedChange
from infrastructure.postgres.pages import cursor_of
from tests.conformance.booking_adapters import (
    ALL,
    DAY,
    GATEWAY,
    HOLD,
    HOUR,
    NOW,
    SUBSCRIBERS,
    BookingAdapters,
    inr,
    to,
)

UNKNOWN = BookingId(10**9)


# Reservation


async def test_reservation_writes_booking_payment_and_messages(adapters: BookingAdapters) -> None:
    event, user = await adapters.event(), await adapters.person()
    reserved = await adapters.booked(event, user)
    assert (reserved.user_name, reserved.user_email, reserved.event_title) == (user.name, user.email, "Yoga")
    assert (reserved.price, reserved.currency, reserved.notes) == (inr(100).amount, "INR", "A note")
    assert (reserved.payment_status, reserved.hold_until) == (PaymentStatus.PENDING, NOW + HOLD)
    assert reserved.reference == f"BK{NOW.year}{reserved.id:06}"
    booking, payment = await adapters.booking(reserved.id), await adapters.payment(reserved.id)
    assert (booking.event_id, booking.user_id, booking.status) == (event.id, user.id, BookingStatus.CONFIRMED)
    assert (booking.price, booking.refund_policy) == (inr(100), event.details.refund_policy)
    assert (booking.reference, booking.created_at, booking.notes) == (reserved.reference, NOW, "A note")
    assert (payment.id, payment.gateway, payment.price) == (reserved.payment_id, GATEWAY, inr(100))
    assert (payment.status, payment.order_id, payment.refunded) == (PaymentStatus.PENDING, None, inr(0))
    sent = await adapters.messages(f"booking:{reserved.id}")
    assert sorted(sent) == sorted(to(MessageType.BOOKING_CREATED, *SUBSCRIBERS))
    stored = await adapters.stored_event(event)
    assert (stored.booked, stored.version) == (1, event.version + 1)


async def test_free_seat_has_no_payment_and_no_hold(adapters: BookingAdapters) -> None:
    reserved = await adapters.booked(await adapters.event(price=inr(0)))
    assert (reserved.payment_id, reserved.hold_until) == (None, None)
    assert reserved.payment_status is PaymentStatus.NOT_REQUIRED
    async with adapters.open_work() as work:
        assert await work.payments.find_for(BookingRef(reserved.id)) is None


@pytest.mark.parametrize(("hold_for", "until"), [(None, None), (HOUR, HOUR), (3 * DAY, 2 * HOUR)])
async def test_hold_ends_at_the_start_at_the_latest(
    adapters: BookingAdapters, hold_for: timedelta | None, until: timedelta | None
) -> None:
    reserved = await adapters.booked(await adapters.event(starts_in=2 * HOUR), hold_for=hold_for)
    assert reserved.hold_until == (None if until is None else NOW + until)


async def test_full_event_has_no_seat(adapters: BookingAdapters) -> None:
    event = await adapters.event(capacity=1)
    await adapters.booked(event)
    assert await adapters.reserve(event) is None
    assert (await adapters.stored_event(event)).booked == 1


async def test_person_has_one_live_booking_of_an_event(adapters: BookingAdapters) -> None:
    event, user = await adapters.event(), await adapters.person()
    first = await adapters.booked(event, user)
    assert await adapters.reserve(event, user) is None
    assert [already for _, already in [await adapters.seats.find_event(event.id, user.id) or (None, None)]] == [True]
    async with adapters.changing() as work:
        await work.events.get(event.id)
        booking = await work.bookings.get(first.id)
        await work.bookings.save(booking.cancelled(NOW, event_starts_at=NOW + DAY, by=user.id))
    assert await adapters.reserve(event, user) is not None


async def test_unknown_started_cancelled_and_inactive_events_have_no_seat(adapters: BookingAdapters) -> None:
    started, cancelled, deleted, inactive = [await adapters.event(starts_in=DAY) for _ in range(4)]
    async with adapters.changing() as work:
        await work.events.save((await work.events.get(cancelled.id)).cancelled(NOW, by=cancelled.facilitator_id))
        await work.events.save((await work.events.get(deleted.id)).deleted(NOW, by=deleted.facilitator_id))
        user = await work.users.get_locked(inactive.facilitator_id)
        await work.users.save(replace(user, is_active=False))
    assert await adapters.reserve(started, now=NOW + DAY) is None
    for event in (replace(started, id=EventId(10**9)), cancelled, deleted, inactive):
        assert await adapters.reserve(event) is None


async def test_unpaid_holds_are_counted_and_limited(adapters: BookingAdapters) -> None:
    user = await adapters.person()
    first = await adapters.booked(user=user, unpaid_at_most=1)
    assert await adapters.seats.count_unpaid_holds(user.id) == 1
    another = await adapters.event()
    assert await adapters.reserve(another, user, unpaid_at_most=1) is None
    assert await adapters.reserve(await adapters.event(price=inr(0)), user, unpaid_at_most=1) is not None
    async with adapters.changing() as work:
        await work.events.get(first.event_id)
        await work.bookings.save((await work.bookings.get(first.id)).paid(inr(100)))
    assert await adapters.seats.count_unpaid_holds(user.id) == 0
    assert await adapters.reserve(another, user, unpaid_at_most=1) is not None


async def test_seat_without_a_hold_is_no_unpaid_hold(adapters: BookingAdapters) -> None:
    user = await adapters.person()
    await adapters.booked(user=user, hold_for=None)
    assert await adapters.seats.count_unpaid_holds(user.id) == 0


# Bookings


async def test_unknown_booking_is_not_found(adapters: BookingAdapters) -> None:
    async with adapters.open_work() as work:
        assert await work.bookings.find_event_id(UNKNOWN) is None
        with pytest.raises(BookingNotFound):
            await work.bookings.get(UNKNOWN)
    with pytest.raises(BookingNotFound):
        await adapters.bookings.get(UNKNOWN)


async def test_booking_without_a_new_transition_cannot_be_saved(adapters: BookingAdapters) -> None:
    reserved = await adapters.booked()
    async with adapters.open_work() as work:
        booking = await work.bookings.get(reserved.id)
        for changed in (booking, replace(booking, payment_status=PaymentStatus.COMPLETED)):
            with pytest.raises(UnrecordedChange):
                await work.bookings.save(changed)


async def test_cancellation_releases_the_seat_and_is_sent(adapters: BookingAdapters) -> None:
    event, user = await adapters.event(), await adapters.person()
    reserved = await adapters.booked(event, user)
    async with adapters.changing() as work:
        assert await work.bookings.find_event_id(reserved.id) == event.id
        await work.events.get(event.id)
        assert await work.bookings.has_live_booking(event.id, user.id)
        booking = await work.bookings.get(reserved.id)
        await work.bookings.save(booking.cancelled(NOW, event_starts_at=NOW + DAY, by=user.id))
        assert not await work.bookings.has_live_booking(event.id, user.id)
    stored = await adapters.booking(reserved.id)
    assert (stored.status, stored.cancelled_at) == (BookingStatus.CANCELLED, NOW)
    assert (stored.cancel_reason, stored.cancelled_by) == (CancelReason.BY_PERSON, user.id)
    after = await adapters.stored_event(event)
    assert (after.booked, after.version) == (0, event.version + 2)
    assert await adapters.message_types(f"booking:{reserved.id}") == [
        MessageType.BOOKING_CREATED,
        MessageType.BOOKING_CANCELLED,
    ]


async def test_rolled_back_cancellation_changes_nothing(adapters: BookingAdapters) -> None:
    event, user = await adapters.event(), await adapters.person()
    reserved = await adapters.booked(event, user)
    async with adapters.open_work() as work:
        await work.events.get(event.id)
        booking = await work.bookings.get(reserved.id)
        await work.bookings.save(booking.cancelled(NOW, event_starts_at=NOW + DAY, by=user.id))
    assert (await adapters.booking(reserved.id)).status is BookingStatus.CONFIRMED
    assert (await adapters.stored_event(event)).booked == 1
    assert await adapters.message_types(f"booking:{reserved.id}") == [MessageType.BOOKING_CREATED]


async def test_payment_keeps_the_seat_and_changes_the_calendar_entry(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    booking_id = await adapters.paid(event)
    stored, after = await adapters.booking(booking_id), await adapters.stored_event(event)
    assert (stored.payment_status, stored.hold_until) == (PaymentStatus.COMPLETED, None)
    assert (after.booked, after.version) == (1, event.version + 2)
    assert (await adapters.message_types(f"booking:{booking_id}"))[-1] == MessageType.PAYMENT_COMPLETED


async def test_reinstated_booking_occupies_a_seat(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    reserved = await adapters.booked(event)
    async with adapters.changing() as work:
        await work.events.get(event.id)
        await work.bookings.save((await work.bookings.get(reserved.id)).expired(NOW))
    assert (await adapters.stored_event(event)).booked == 0
    async with adapters.changing() as work:
        await work.events.get(event.id)
        await work.bookings.save((await work.bookings.get(reserved.id)).reinstated(inr(100)))
    stored = await adapters.booking(reserved.id)
    assert (stored.status, stored.cancelled_at, stored.cancel_reason) == (BookingStatus.CONFIRMED, None, None)
    assert (await adapters.stored_event(event)).booked == 1


async def test_holds_of_a_facilitator_end_now(adapters: BookingAdapters) -> None:
    event, other = await adapters.event(), await adapters.booked()
    held, paid = await adapters.booked(event), await adapters.paid(event)
    async with adapters.changing() as work:
        await work.bookings.end_holds(event.facilitator_id, NOW + HOLD / 2)
    assert (await adapters.booking(held.id)).hold_until == NOW + HOLD / 2
    assert (await adapters.booking(paid)).hold_until is None
    assert (await adapters.booking(other.id)).hold_until == NOW + HOLD


async def test_invited_person_gets_a_free_booking(adapters: BookingAdapters) -> None:
    event, user = await adapters.event(), await adapters.person()
    async with adapters.changing() as work:
        await work.events.get(event.id)
        await work.events.occupy_seat(event.id)
        booking_id = await work.bookings.add_invited(event.id, user.id, NOW)
    booking = await adapters.booking(booking_id)
    assert (booking.price, booking.payment_status) == (inr(0), PaymentStatus.NOT_REQUIRED)
    assert (booking.user_id, booking.refund_policy) == (user.id, event.details.refund_policy)
    assert (await adapters.stored_event(event)).booked == 1
    sent = await adapters.messages(f"booking:{booking_id}")
    assert sorted(sent) == sorted(to(MessageType.BOOKING_CREATED, *SUBSCRIBERS))


async def test_participants_are_those_with_a_confirmed_booking(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    paid, held, on_site = (
        await adapters.paid(event),
        (await adapters.booked(event)).id,
        (await adapters.booked(event, hold_for=None)).id,
    )
    async with adapters.changing() as work:
        assert await work.messages.enqueue_for_participants(event.id, ParticipantMessage("Hello", "Text")) == 2
    for booking_id, has_message in ((paid, True), (held, False), (on_site, True)):
        sent = await adapters.messages(f"booking:{booking_id}")
        assert ((MessageType.PARTICIPANT_MESSAGE, Destination.EMAIL) in sent) is has_message


# Queries


async def test_booking_is_shown_with_its_event_and_payment(adapters: BookingAdapters) -> None:
    booking_id = await adapters.paid()
    view, payment = await adapters.bookings.get(booking_id), await adapters.payment(booking_id)
    assert (view.payment_id, view.payment_reference) == (payment.gateway_id, payment.order_id)
    assert (view.price, view.event.title, view.event.booked) == (inr(100), "Yoga", 1)
    assert (view.status, view.payment_status) == (BookingStatus.CONFIRMED, PaymentStatus.COMPLETED)


async def test_event_is_read_with_a_page_of_its_bookings(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    view, page = await adapters.bookings.of_event(event.id, ALL)
    assert (view.id, view.booked, page.items, page.next) == (event.id, 0, [], None)
    ids = [(await adapters.booked(event)).id for _ in range(3)]
    await adapters.booked(await adapters.event())
    view, first = await adapters.bookings.of_event(event.id, PageRequest(limit=2))
    _, rest = await adapters.bookings.of_event(event.id, PageRequest(limit=2, after=first.next))
    assert [each.id for each in (*first.items, *rest.items)] == ids[::-1]
    assert (view.booked, rest.next) == (3, None)
    _, page = await adapters.bookings.of_event(event.id, PageRequest(after=cursor_of(ids[0])))
    assert page.items == []
    async with adapters.changing() as work:
        await work.events.save((await work.events.get(event.id)).deleted(NOW, by=event.facilitator_id))
    for event_id in (event.id, EventId(10**9)):
        with pytest.raises(EventNotFound):
            await adapters.bookings.of_event(event_id, ALL)


async def test_lists_of_bookings_have_the_newest_first(adapters: BookingAdapters) -> None:
    facilitator, user = await adapters.person(Role.FACILITATOR), await adapters.person()
    events = [await adapters.event(facilitator=facilitator) for _ in range(3)]
    ids = [(await adapters.booked(event, user)).id for event in events]
    first = await adapters.bookings.list_of_user(user.id, BookingFilter(), PageRequest(limit=2))
    rest = await adapters.bookings.list_of_user(user.id, BookingFilter(), PageRequest(limit=2, after=first.next))
    assert [each.id for each in (*first.items, *rest.items)] == ids[::-1]
    assert rest.next is None
    of_facilitator = await adapters.bookings.list_of_facilitator(facilitator.id, ALL)
    assert [each.id for each in of_facilitator.items] == ids[::-1]
    paid = BookingFilter(payment_status=PaymentStatus.COMPLETED)
    assert (await adapters.bookings.list_of_user(user.id, paid, ALL)).items == []
    confirmed = BookingFilter(status=BookingStatus.CONFIRMED)
    assert len((await adapters.bookings.list_of_user(user.id, confirmed, ALL)).items) == 3


# Invitations


async def test_invitation_is_pending_until_it_is_answered(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    email = f"guest{event.id}@example.com"
    async with adapters.changing() as work:
        invitation = await work.invitations.add(
            event.id, name="Guest", email=email, by=event.facilitator_id, now=NOW, expires_at=NOW + DAY
        )
        await work.messages.enqueue_invitation(invitation.id)
    assert invitation.status is InvitationStatus.PENDING
    invited = to(MessageType.BOOKING_INVITATION, Destination.EMAIL)
    assert await adapters.messages(f"invitation:{invitation.id}") == invited
    assert (await adapters.invitations.show(invitation.id, NOW)).is_open
    assert not (await adapters.invitations.show(invitation.id, NOW + DAY)).is_open
    async with adapters.changing() as work:
        assert await work.invitations.find_event_id(invitation.id) == event.id
        assert await work.invitations.has_pending(event.id, email)
        declined = (await work.invitations.get(invitation.id)).declined(NOW)
        await work.invitations.save(declined)
        assert not await work.invitations.has_pending(event.id, email)
    shown = await adapters.invitations.show(invitation.id, NOW)
    assert (shown.invitation, shown.is_open, shown.title) == (declined, False, "Yoga")
    assert (await adapters.invitations.list_of_event(event.id, ALL)).items == [declined]


async def test_unknown_invitation_is_not_found(adapters: BookingAdapters) -> None:
    unknown = InvitationId(UUID(int=2**127))
    async with adapters.open_work() as work:
        for find in (work.invitations.get, work.invitations.find_event_id):
            with pytest.raises(InvitationNotFound):
                await find(unknown)
    with pytest.raises(InvitationNotFound):
        await adapters.invitations.show(unknown, NOW)


async def test_booking_of_an_address_is_found(adapters: BookingAdapters) -> None:
    event, user = await adapters.event(), await adapters.person()
    await adapters.booked(event, user)
    async with adapters.open_work() as work:
        assert await work.invitations.has_booking(event.id, user.email)
        assert not await work.invitations.has_booking(event.id, "other@example.com")


async def test_expired_invitations_and_those_of_started_events_are_due(adapters: BookingAdapters) -> None:
    event, soon = await adapters.event(), await adapters.event(starts_in=HOUR)
    async with adapters.changing() as work:
        first, second, third = [
            await work.invitations.add(
                to_event.id,
                name="Guest",
                email=f"{number}@example.com",
                by=to_event.facilitator_id,
                now=NOW,
                expires_at=NOW + until,
            )
            for number, (to_event, until) in enumerate([(event, 2 * HOUR), (event, DAY), (soon, 3 * HOUR)])
        ]
    async with adapters.open_work() as work:
        due = await work.invitations.find_expired(NOW + 2 * HOUR, limit=1000)
    assert [each for each in due if each in {first.id, second.id, third.id}] == [first.id, third.id]


async def test_cancelled_event_withdraws_its_invitations(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    async with adapters.changing() as work:
        await work.events.get(event.id)
        invitation = await work.invitations.add(
            event.id, name="Guest", email="g@example.com", by=event.facilitator_id, now=NOW, expires_at=NOW + DAY
        )
        await work.events.occupy_seat(event.id)
    async with adapters.changing() as work:
        await work.events.save((await work.events.get(event.id)).cancelled(NOW, by=event.facilitator_id))
    assert (await adapters.stored_event(event)).status is EventStatus.CANCELLED
    async with adapters.open_work() as work:
        withdrawn = await work.invitations.get(invitation.id)
    assert (withdrawn.status, withdrawn.answered_at) == (InvitationStatus.WITHDRAWN, NOW)


async def test_facilitator_with_limited_mail_is_mailed_from_here(adapters: BookingAdapters) -> None:
    """The CRM mails those whose address is verified."""
    verified, event = await adapters.person(Role.FACILITATOR), await adapters.event()
    async with adapters.changing() as work:
        await work.users.save(replace(verified, is_verified=True))
    for host, expected in (
        (event, [(MessageType.BOOKING_CREATED, Destination.EMAIL)]),
        (await adapters.event(facilitator=verified), []),
    ):
        booked = await adapters.booked(host)
        assert await adapters.messages(f"booking:{booked.id}") == to(MessageType.BOOKING_CREATED, *SUBSCRIBERS)
        key = f"booking:{booked.id}:facilitator"
        assert await adapters.messages(key) == expected
        async with adapters.changing() as work:
            booking = await work.bookings.get(booked.id)
            starts_at = host.details.interval.starts_at
            await work.bookings.save(booking.cancelled(NOW, event_starts_at=starts_at, by=booking.user_id))
        cancelled = [(MessageType.BOOKING_CANCELLED, Destination.EMAIL)] if expected else []
        assert await adapters.messages(key) == [*expected, *cancelled]
