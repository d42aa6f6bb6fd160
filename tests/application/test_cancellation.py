"""Rules of cancellation by clients and by organisers."""

from datetime import timedelta

import pytest

from domain.accounts import Role
from domain.bookings import (
    BookingAlreadyCancelled,
    BookingForbidden,
    BookingNotFound,
    BookingOver,
    BookingStatus,
    CancelReason,
)
from domain.errors import DomainError
from domain.events import EventForbidden
from domain.ids import BookingId
from domain.outbox import Destination, MessageType
from domain.payments import PaymentStatus
from domain.refunds import RefundPolicy
from tests.application.booking_application import DAY, HOUR, BookingApplication, delivered, inr
from tests.support.memory.gateway import Behaviour

HALF_UNTIL_A_DAY_BEFORE = RefundPolicy.of([(72, 100), (24, 50)])


async def test_cancelled_seat_can_be_booked_again_immediately(app: BookingApplication) -> None:
    event = await app.event(capacity=1)
    booking = (await app.book(event)).reserved
    await app.cancel_booking(app.owner(booking.id), booking.id)
    assert app.booking(booking.id).status is BookingStatus.CANCELLED
    assert app.stored_event(event.id).booked == 0
    again = (await app.book(event, app.owner(booking.id))).reserved
    assert app.booking(again.id).status is BookingStatus.CONFIRMED


@pytest.mark.parametrize(("before_start", "refund"), [(73 * HOUR, 100), (72 * HOUR, 100), (71 * HOUR, 50), (DAY, 50)])
async def test_refund_follows_the_policy_stored_with_the_booking(
    app: BookingApplication, before_start: timedelta, refund: int
) -> None:
    event = await app.event(refund_policy=HALF_UNTIL_A_DAY_BEFORE)
    booking_id = await app.paid(event)
    nothing = RefundPolicy.of([])
    await app.update_event(app.facilitator(event), event.id, lambda old: app.changed(old, refund_policy=nothing))
    app.clock.moment = event.details.interval.starts_at - before_start
    given = await app.cancel_booking(app.owner(booking_id), booking_id)
    assert given is not None
    assert app.refunded() == [(inr(refund), MessageType.BOOKING_CANCELLED)]
    assert app.booking(booking_id).payment_status is PaymentStatus.REFUNDED


async def test_late_cancellation_refunds_nothing(app: BookingApplication) -> None:
    event = await app.event(refund_policy=HALF_UNTIL_A_DAY_BEFORE)
    booking_id = await app.paid(event)
    app.clock.moment = event.details.interval.starts_at - 23 * HOUR
    assert await app.cancel_booking(app.owner(booking_id), booking_id) is None
    assert app.refunded() == []
    booking = app.booking(booking_id)
    assert (booking.status, booking.payment_status) == (BookingStatus.CANCELLED, PaymentStatus.COMPLETED)


@pytest.mark.parametrize("change", ["interval", "location"])
async def test_change_of_time_or_location_allows_a_full_refund(app: BookingApplication, change: str) -> None:
    event = await app.event(refund_policy=RefundPolicy.of([]))
    booking_id = await app.paid(event)
    new = {"interval": app.details(starts_in=8 * DAY).interval, "location": "Another hall"}[change]
    await app.update_event(app.facilitator(event), event.id, lambda old: app.changed(old, **{change: new}))
    await app.cancel_booking(app.owner(booking_id), booking_id)
    assert app.refunded() == [(inr(100), MessageType.BOOKING_CANCELLED)]


async def test_new_link_allows_no_full_refund(app: BookingApplication) -> None:
    event = await app.event(refund_policy=RefundPolicy.of([]))
    booking_id = await app.paid(event)
    link = "https://meet.example/1"
    await app.update_event(app.facilitator(event), event.id, lambda old: app.changed(old, virtual_link=link))
    assert await app.cancel_booking(app.owner(booking_id), booking_id) is None


async def test_admin_who_cancels_for_a_client_refunds_in_full(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event(refund_policy=RefundPolicy.of([])))
    admin = await app.person(Role.ADMIN)
    await app.cancel_booking(admin, booking_id)
    assert app.refunded() == [(inr(100), CancelReason.BY_ORGANISER)]
    booking = app.booking(booking_id)
    assert (booking.cancel_reason, booking.cancelled_by) == (CancelReason.BY_ORGANISER, admin.id)


async def test_open_checkout_of_a_cancelled_booking_is_closed(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    await app.cancel_booking(app.owner(booking.id), booking.id)
    assert delivered(await app.work())
    assert app.gateway.orders[app.payment_id(booking.id)].is_closed


async def test_checkout_that_was_never_opened_is_not_closed(app: BookingApplication) -> None:
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    booking = (await app.book(await app.event())).reserved
    await app.cancel_booking(app.owner(booking.id), booking.id)
    assert app.messages(MessageType.CHECKOUT_ENDED) == []


async def test_cancellation_is_sent_and_reminders_are_dropped(app: BookingApplication) -> None:
    booking = (await app.book(await app.event(price=inr(0)))).reserved
    await app.cancel_booking(app.owner(booking.id), booking.id)
    sent = app.messages(MessageType.BOOKING_CANCELLED)
    assert [each.destination for each in sent] == [Destination.CRM, Destination.EMAIL, Destination.REALTIME]
    assert {each.payload["reason"] for each in sent} == {None}
    assert {row.status for row in app.store.tables.of("reminders").values()} == {"skipped"}


async def _strangers(app: BookingApplication, booking_id: BookingId) -> None:
    """Each error of a cancellation, in the order of its checks."""
    owner, other = app.owner(booking_id), await app.person()
    with pytest.raises(BookingNotFound):
        await app.cancel_booking(owner, BookingId(999))
    with pytest.raises(BookingForbidden):
        await app.cancel_booking(other, booking_id)


async def test_only_the_owner_and_admins_cancel_a_booking(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    await _strangers(app, booking.id)
    with pytest.raises(BookingForbidden):
        await app.cancel_booking(app.facilitator(event), booking.id)
    assert app.booking(booking.id).status is BookingStatus.CONFIRMED


async def test_booking_is_cancelled_once(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    owner = app.owner(booking.id)
    await app.cancel_booking(owner, booking.id)
    with pytest.raises(BookingAlreadyCancelled):
        await app.cancel_booking(owner, booking.id)


@pytest.mark.parametrize("method", ["cancel_booking", "show_cancellation"])
async def test_booking_cannot_be_cancelled_once_its_event_has_started(app: BookingApplication, method: str) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    app.clock.moment = event.details.interval.starts_at
    with pytest.raises(BookingOver):
        await getattr(app, method)(app.owner(booking.id), booking.id)


async def test_repeated_cancellation_returns_the_same_refund(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    owner = app.owner(booking_id)
    first, second = await app.repeated(lambda: app.cancel_booking(owner, booking_id))
    assert first == second
    assert first is not None


async def test_repeated_cancellation_without_a_refund_returns_none(app: BookingApplication) -> None:
    booking = (await app.book(await app.event(price=inr(0)))).reserved
    owner = app.owner(booking.id)
    assert await app.repeated(lambda: app.cancel_booking(owner, booking.id)) == (None, None)


async def test_shown_refund_is_that_of_the_cancellation(app: BookingApplication) -> None:
    event = await app.event(refund_policy=HALF_UNTIL_A_DAY_BEFORE)
    booking_id = await app.paid(event)
    app.clock.moment = event.details.interval.starts_at - 30 * HOUR
    owner = app.owner(booking_id)
    terms = await app.show_cancellation(owner, booking_id)
    assert (terms.paid, terms.percent, terms.refund) == (inr(100), 50, inr(50))
    assert terms.policy == HALF_UNTIL_A_DAY_BEFORE
    await app.cancel_booking(owner, booking_id)
    assert app.refunded() == [(terms.refund, MessageType.BOOKING_CANCELLED)]


async def test_shown_refund_of_an_unpaid_booking_is_nothing(app: BookingApplication) -> None:
    booking = (await app.book(await app.event(price=inr(0)))).reserved
    terms = await app.show_cancellation(app.owner(booking.id), booking.id)
    assert (terms.paid, terms.refund) == (inr(0), inr(0))


async def test_facilitator_cancels_a_participant_with_a_full_refund(app: BookingApplication) -> None:
    event = await app.event(refund_policy=RefundPolicy.of([]), capacity=1)
    booking_id = await app.paid(event)
    await app.cancel_participant(app.facilitator(event), booking_id)
    assert app.refunded() == [(inr(100), CancelReason.BY_ORGANISER)]
    booking = app.booking(booking_id)
    assert (booking.cancel_reason, booking.payment_status) == (CancelReason.BY_ORGANISER, PaymentStatus.REFUNDED)
    await app.book(event)


async def test_cancelled_participant_and_crm_receive_the_cancellation(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    assert await app.cancel_participant(app.facilitator(event), booking.id) is None
    sent = app.messages(MessageType.BOOKING_CANCELLED)
    assert {Destination.CRM, Destination.EMAIL} <= {each.destination for each in sent}
    assert {each.payload["reason"] for each in sent} == {CancelReason.BY_ORGANISER}
    assert app.stored_event(event.id).version == event.version + 2


async def test_open_checkout_of_a_cancelled_participant_is_closed(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    await app.cancel_participant(app.facilitator(event), booking.id)
    assert delivered(await app.work())
    assert app.gateway.orders[app.payment_id(booking.id)].is_closed


async def test_other_facilitators_and_clients_cannot_cancel_a_participant(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    for user in (await app.person(Role.FACILITATOR), app.owner(booking.id)):
        with pytest.raises(EventForbidden):
            await app.cancel_participant(user, booking.id)


async def test_participant_cannot_be_cancelled_after_the_start_or_twice(app: BookingApplication) -> None:
    event = await app.event()
    first, second = (await app.book(event)).reserved, (await app.book(event)).reserved
    facilitator = app.facilitator(event)
    await app.cancel_participant(facilitator, first.id)
    app.clock.moment = event.details.interval.starts_at
    errors: dict[BookingId, type[DomainError]] = {first.id: BookingAlreadyCancelled, second.id: BookingOver}
    for booking_id, error in errors.items():
        with pytest.raises(error):
            await app.cancel_participant(facilitator, booking_id)


async def test_repeated_cancellation_of_a_participant_returns_the_same_refund(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    first, second = await app.repeated(lambda: app.cancel_participant(app.facilitator(event), booking_id))
    assert first == second
    assert first is not None
