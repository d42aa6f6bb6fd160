"""Rules of the completion of bookings whose events have ended."""

import pytest

from application.bookings import completion
from domain.accounts import Role
from domain.bookings import BookingStatus
from domain.outbox import Destination, MessageType
from tests.application.booking_application import HOLD, HOUR, BookingApplication, inr


async def test_bookings_of_an_ended_event_are_completed_and_sent_to_the_crm(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    app.clock.moment = event.details.interval.ends_at
    calls = app.wake_ups.calls
    assert await app.complete_bookings() == 1
    assert app.booking(booking_id).status is BookingStatus.COMPLETED
    assert app.sent(MessageType.BOOKING_COMPLETED) == [(f"booking:{booking_id}", Destination.CRM)]
    assert app.wake_ups.calls == calls + 1
    assert await app.complete_bookings() == 0


async def test_bookings_are_not_completed_before_the_end(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    app.clock.moment = event.details.interval.starts_at
    calls = app.wake_ups.calls
    assert await app.complete_bookings() == 0
    assert app.booking(booking_id).status is BookingStatus.CONFIRMED
    assert app.wake_ups.calls == calls


async def test_cancelled_bookings_are_not_completed(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    await app.cancel_booking(app.owner(booking_id), booking_id)
    app.clock.moment = event.details.interval.ends_at
    await app.complete_bookings()
    assert app.booking(booking_id).status is BookingStatus.CANCELLED


async def test_event_with_held_seats_is_completed_once_they_have_expired(app: BookingApplication) -> None:
    event = await app.event(starts_in=HOLD / 2, lasts=HOUR)
    paid = await app.paid(event)
    held = (await app.book(event)).reserved.id
    app.clock.moment = event.details.interval.ends_at
    assert await app.complete_bookings() == 0
    await app.expire_holds()
    assert await app.complete_bookings() == 1
    assert app.booking(paid).status is BookingStatus.COMPLETED
    assert app.booking(held).status is BookingStatus.CANCELLED


async def test_all_ended_events_are_completed_in_steps(
    app: BookingApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "EVENTS_AT_ONCE", 2)
    facilitator = await app.person(Role.FACILITATOR)
    for _ in range(5):
        event = await app.event(facilitator, price=inr(0))
    app.clock.moment = event.details.interval.ends_at
    assert await app.complete_bookings() == 5
