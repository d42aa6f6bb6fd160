"""The ports of events, in memory and in PostgreSQL."""

from dataclasses import replace

import pytest

from application.ports import PageRequest
from domain.bookings import BookingStatus
from domain.events import EventId, EventNotFound, EventStatus
from domain.outbox import Destination, MessageType
from domain.payments import PaymentStatus
from domain.refunds import RefundPolicy
from domain.reviews import AlreadyReviewed, Review
from infrastructure.postgres.domain_events import UnrecordedChange
from tests.conformance.booking_adapters import (
    ALL,
    DAY,
    HOLD,
    HOUR,
    NOW,
    BookingAdapters,
    details,
    inr,
    to,
)

UNKNOWN = EventId(10**9)


async def test_new_event_is_stored_with_its_details(adapters: BookingAdapters) -> None:
    event = await adapters.event(
        description="Bring a mat",
        category="Sport",
        location="Hall 1",
        virtual_link="https://meet.example/1",
        refund_policy=RefundPolicy.of([(24, 50)]),
    )
    assert (event.booked, event.status, event.revision, event.version) == (0, EventStatus.ACTIVE, 0, 1)
    stored = await adapters.stored_event(event)
    assert stored == replace(event, events=())
    assert await adapters.messages(f"event:{event.id}") == to(MessageType.EVENT_CREATED, Destination.CRM)


async def test_uncommitted_event_is_not_stored(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    async with adapters.open_work() as work:
        another = await work.events.add(event.facilitator_id, details(), NOW)
    async with adapters.open_work() as work:
        with pytest.raises(EventNotFound):
            await work.events.get(another.id)


async def test_unknown_event_is_not_found(adapters: BookingAdapters) -> None:
    async with adapters.open_work() as work:
        for find in (work.events.get, work.events.get_including_deleted):
            with pytest.raises(EventNotFound):
                await find(UNKNOWN)
    with pytest.raises(EventNotFound):
        await adapters.events.get(UNKNOWN)


async def test_deleted_event_is_found_only_with_its_bookings(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    async with adapters.changing() as work:
        stored = await work.events.get(event.id)
        await work.events.save(stored.deleted(NOW, by=event.facilitator_id))
    assert (await adapters.stored_event(event)).deleted_at == NOW
    async with adapters.open_work() as work:
        with pytest.raises(EventNotFound):
            await work.events.get(event.id)
    with pytest.raises(EventNotFound):
        await adapters.events.get(event.id)
    assert await adapters.seats.find_event(event.id, event.facilitator_id) is None


async def test_event_without_a_new_transition_cannot_be_saved(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    async with adapters.open_work() as work:
        stored = await work.events.get(event.id)
        for changed in (stored, replace(stored, booked=3)):
            with pytest.raises(UnrecordedChange):
                await work.events.save(changed)


async def test_change_writes_the_event_and_its_messages(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    booking = await adapters.booked(event)
    async with adapters.changing() as work:
        stored = await work.events.get(event.id)
        moved = stored.with_details(details(starts_in=8 * DAY, title="Pilates"), NOW)
        await work.events.save(moved)
    stored = await adapters.stored_event(event)
    assert stored == replace(moved, events=())
    assert (stored.schedule_revision, stored.revision, stored.booked) == (1, 1, 1)
    assert await adapters.message_types(f"event:{event.id}") == [MessageType.EVENT_CREATED, MessageType.EVENT_UPDATED]
    sent = await adapters.messages(f"booking:{booking.id}")
    assert sent[-1:] == to(MessageType.BOOKING_MOVED, Destination.EMAIL)


async def test_earlier_start_ends_holds_at_the_start(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    booking = await adapters.booked(event)
    assert booking.hold_until == NOW + HOLD
    async with adapters.changing() as work:
        moved = (await work.events.get(event.id)).with_details(details(starts_in=HOLD / 2), NOW)
        await work.events.save(moved)
    assert (await adapters.booking(booking.id)).hold_until == NOW + HOLD / 2


async def test_new_policy_does_not_change_that_of_a_booking(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    booking = await adapters.booked(event)
    async with adapters.changing() as work:
        none = details(refund_policy=RefundPolicy.of([]))
        await work.events.save((await work.events.get(event.id)).with_details(none, NOW))
    assert (await adapters.booking(booking.id)).refund_policy == RefundPolicy()


async def test_cancelled_event_cancels_and_refunds_its_bookings(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    paid, unpaid = await adapters.paid(event), (await adapters.booked(event)).id
    async with adapters.changing() as work:
        stored = await work.events.get(event.id)
        await work.events.save(stored.cancelled(NOW, by=event.facilitator_id))
        assert [refund.amount for refund in work.refunds.requested] == [inr(100)]
    stored = await adapters.stored_event(event)
    assert (stored.status, stored.booked) == (EventStatus.CANCELLED, 0)
    bookings = [await adapters.booking(booking_id) for booking_id in (paid, unpaid)]
    assert {each.status for each in bookings} == {BookingStatus.CANCELLED}
    assert [each.payment_status for each in bookings] == [PaymentStatus.REFUNDED, PaymentStatus.PENDING]
    assert {(each.cancelled_by, each.hold_until) for each in bookings} == {(event.facilitator_id, None)}
    payment = await adapters.payment(paid)
    assert (payment.status, payment.refunded) == (PaymentStatus.REFUNDED, inr(100))
    assert await adapters.messages(f"payment:{payment.id}") == to(MessageType.REFUND_REQUESTED, Destination.PAYMENTS)
    for booking_id in (paid, unpaid):
        assert (await adapters.message_types(f"booking:{booking_id}"))[-1] == MessageType.BOOKING_CANCELLED


async def test_cancelled_event_closes_open_checkouts(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    opened, not_opened = await adapters.booked(event), await adapters.booked(event)
    assert opened.payment_id is not None
    await adapters.checkouts.save(opened.payment_id, f"order {opened.payment_id}", "https://gateway.example/1")
    async with adapters.changing() as work:
        await work.events.save((await work.events.get(event.id)).cancelled(NOW, by=event.facilitator_id))
    closed = to(MessageType.CHECKOUT_ENDED, Destination.PAYMENTS)
    assert await adapters.messages(f"payment:{opened.payment_id}") == closed
    assert await adapters.messages(f"payment:{not_opened.payment_id}") == []


async def test_each_change_of_a_seat_counts_and_has_a_version(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    async with adapters.changing() as work:
        await work.events.get(event.id)
        await work.events.occupy_seat(event.id)
        await work.events.occupy_seat(event.id)
        await work.events.release_seat(event.id)
    stored = await adapters.stored_event(event)
    assert (stored.booked, stored.version) == (1, event.version + 3)


@pytest.mark.parametrize("capacity", [0, 1])
async def test_seats_stay_between_zero_and_the_capacity(adapters: BookingAdapters, capacity: int) -> None:
    """PostgreSQL and the adapters in memory have errors of their own for it: it is a programming error."""
    event = await adapters.event(capacity=1)
    with pytest.raises(Exception, match="never_oversold"):
        async with adapters.changing() as work:
            if capacity == 0:
                await work.events.release_seat(event.id)
            else:
                await work.events.occupy_seat(event.id)
                await work.events.occupy_seat(event.id)
    assert (await adapters.stored_event(event)).booked == 0


async def test_ended_events_are_completed_with_their_bookings(adapters: BookingAdapters) -> None:
    event, later = await adapters.event(starts_in=HOUR), await adapters.event(starts_in=3 * HOUR)
    booking_id = await adapters.paid(event)
    async with adapters.changing() as work:
        assert await work.events.complete_ended(NOW + 2 * HOUR, limit=100) >= 1
    async with adapters.changing() as work:
        assert await work.events.complete_ended(NOW + 2 * HOUR, limit=100) == 0
    assert (await adapters.booking(booking_id)).status is BookingStatus.COMPLETED
    assert (await adapters.message_types(f"booking:{booking_id}"))[-1] == MessageType.BOOKING_COMPLETED
    async with adapters.changing() as work:
        assert await work.events.complete_ended(later.details.interval.ends_at, limit=100) == 1


async def test_ended_event_with_a_held_seat_is_completed_later(adapters: BookingAdapters) -> None:
    event = await adapters.event(starts_in=10 * DAY)
    booking, end = await adapters.booked(event), event.details.interval.ends_at
    async with adapters.changing() as work:
        await work.events.complete_ended(end, limit=100)
    assert (await adapters.booking(booking.id)).status is BookingStatus.CONFIRMED
    async with adapters.changing() as work:
        await work.events.get(event.id)
        await work.bookings.save((await work.bookings.get(booking.id)).expired(NOW))
    async with adapters.changing() as work:
        assert await work.events.complete_ended(end, limit=100) == 1


async def test_event_of_a_deactivated_facilitator_is_inactive(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    async with adapters.changing() as work:
        await work.events.set_facilitator_active(event.facilitator_id, active=False)
    assert not (await adapters.stored_event(event)).facilitator_active
    found = await adapters.seats.find_event(event.id, event.facilitator_id)
    assert found is not None
    assert not found[0].facilitator_active
    async with adapters.changing() as work:
        await work.events.set_facilitator_active(event.facilitator_id, active=True)
    assert (await adapters.stored_event(event)).facilitator_active
    async with adapters.changing() as work:
        facilitator = await work.users.get_locked(event.facilitator_id)
        await work.users.save(replace(facilitator, is_active=False))
    assert not (await adapters.stored_event(event)).facilitator_active
    assert not (await adapters.events.get(event.id)).facilitator_active


async def test_event_is_shown_with_its_facilitator(adapters: BookingAdapters) -> None:
    event = await adapters.event(virtual_link="https://meet.example/1")
    view = await adapters.events.get(event.id)
    async with adapters.open_work() as work:
        facilitator = await work.users.get(event.facilitator_id)
    assert (view.title, view.starts_at, view.price) == ("Yoga", event.details.interval.starts_at, inr(100).amount)
    assert (view.facilitator_id, view.facilitator_uuid) == (facilitator.id, facilitator.uuid)
    assert (view.facilitator_name, view.facilitator_email) == (facilitator.name, facilitator.email)
    assert (view.rating, view.available, view.join_link(None)) == (None, 10, None)


async def test_join_link_is_shown_to_paid_participants(adapters: BookingAdapters) -> None:
    event = await adapters.event(virtual_link="https://meet.example/1")
    paid, unpaid = await adapters.booking(await adapters.paid(event)), await adapters.booked(event)
    assert (await adapters.events.get(event.id, viewer=paid.user_id)).viewer_has_seat
    assert not (await adapters.events.get(event.id, viewer=unpaid.user_id)).viewer_has_seat


async def test_reviews_make_the_rating_of_the_facilitator(adapters: BookingAdapters) -> None:
    event = await adapters.event()
    people = [await adapters.person() for _ in range(2)]
    async with adapters.changing() as work:
        for user, rating in zip(people, (5, 2), strict=True):
            review = Review(event.id, user.id, rating, "Good", NOW)
            await work.reviews.add(review, facilitator_id=event.facilitator_id)
    assert (await adapters.events.get(event.id)).rating == 3.5
    newest = await adapters.reviews.list_of_event(event.id, PageRequest(limit=1))
    assert [(each.rating, each.user_name) for each in newest.items] == [(2, people[1].name)]
    rest = await adapters.reviews.list_of_event(event.id, PageRequest(after=newest.next))
    assert [(each.rating, each.comment) for each in rest.items] == [(5, "Good")]
    assert rest.next is None


async def test_second_review_of_an_event_is_refused(adapters: BookingAdapters) -> None:
    event, user = await adapters.event(), await adapters.person()
    review = Review(event.id, user.id, 5, None, NOW)
    async with adapters.changing() as work:
        await work.reviews.add(review, facilitator_id=event.facilitator_id)
    async with adapters.open_work() as work:
        with pytest.raises(AlreadyReviewed):
            await work.reviews.add(review, facilitator_id=event.facilitator_id)
    assert len((await adapters.reviews.list_of_event(event.id, ALL)).items) == 1
