"""Rules of the reservation of seats. That concurrent requests cannot oversell is tested on PostgreSQL."""

import pytest

from application.bookings.reservation import LOOKS
from domain.accounts import Role
from domain.bookings import MAX_NOTES, BookingStatus
from domain.errors import Invalid
from domain.events import AlreadyBooked, EventCancelled, EventFull, EventId, EventNotFound, EventStarted
from domain.outbox import Destination, MessageType
from domain.payments import OFFLINE, PaymentStatus
from domain.refunds import RefundPolicy
from domain.unpaid_holds import DEFAULT_LIMITS, TooManyUnpaidHolds
from tests.application.booking_application import HOLD, HOUR, RETURN_URL, BookingApplication, inr
from tests.support.memory.gateway import Behaviour


async def test_capacity_is_never_exceeded(app: BookingApplication) -> None:
    event = await app.event(capacity=2)
    for _ in range(2):
        await app.book(event)
    with pytest.raises(EventFull):
        await app.book(event)
    assert app.stored_event(event.id).booked == len(app.bookings_of(event)) == 2


async def test_person_has_at_most_one_live_booking_of_an_event(app: BookingApplication) -> None:
    event, person = await app.event(), await app.person()
    booking = (await app.book(event, person)).reserved
    with pytest.raises(AlreadyBooked):
        await app.book(event, person)
    await app.cancel_booking(person, booking.id)
    await app.book(event, person)
    assert [each.status for each in app.bookings_of(event)] == [BookingStatus.CANCELLED, BookingStatus.CONFIRMED]


async def test_cancelled_event_cannot_be_booked(app: BookingApplication) -> None:
    event = await app.event()
    await app.cancel_event(app.facilitator(event), event.id)
    with pytest.raises(EventCancelled):
        await app.book(event)


async def test_event_that_has_started_cannot_be_booked(app: BookingApplication) -> None:
    event = await app.event()
    app.clock.moment = event.details.interval.starts_at
    with pytest.raises(EventStarted):
        await app.book(event)


async def test_unknown_deleted_and_deactivated_events_are_not_found(app: BookingApplication) -> None:
    deleted, deactivated = await app.event(), await app.event()
    await app.delete_event(app.facilitator(deleted), deleted.id)
    app.deactivate(app.facilitator(deactivated))
    person = await app.person()
    for event_id in (EventId(999), deleted.id, deactivated.id):
        with pytest.raises(EventNotFound):
            await app.book_seat(person, event_id, None)


async def test_booking_payment_and_messages_are_written_together(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    assert app.payment(booking.id).price == inr(100)
    assert app.sent(MessageType.BOOKING_CREATED) == [
        (f"booking:{booking.id}", Destination.CRM),
        (f"booking:{booking.id}", Destination.EMAIL),
        (f"booking:{booking.id}", Destination.REALTIME),
    ]
    assert len(app.store.tables.of("reminders")) == 2
    assert app.wake_ups.calls == 2


async def test_free_seat_needs_no_payment(app: BookingApplication) -> None:
    booking = await app.book(await app.event(price=inr(0)))
    assert booking.payment_url is None
    assert booking.reserved.payment_status is PaymentStatus.NOT_REQUIRED
    assert (booking.reserved.payment_id, booking.reserved.hold_until) == (None, None)
    assert app.payments_of(booking.reserved.id) == []


async def test_priced_seat_has_a_payment_link(app: BookingApplication) -> None:
    booking = await app.book(await app.event())
    payment = app.payment(booking.reserved.id)
    assert booking.payment_url == f"https://gateway.example/{payment.order_id}"
    assert app.gateway.orders[payment.id].price == inr(100)
    assert booking.reserved.payment_status is PaymentStatus.PENDING


async def test_seat_that_is_paid_at_a_gateway_is_held_for_a_limited_time(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    assert booking.hold_until == app.clock.now() + HOLD


async def test_hold_ends_at_the_start_at_the_latest(app: BookingApplication) -> None:
    event = await app.event(starts_in=HOLD / 2)
    assert (await app.book(event)).reserved.hold_until == event.details.interval.starts_at


async def test_seat_that_is_paid_on_site_has_no_link_and_no_hold() -> None:
    app = BookingApplication(gateway=OFFLINE)
    booking = await app.book(await app.event())
    assert (booking.reserved.hold_until, booking.payment_url) == (None, None)
    assert app.payment(booking.reserved.id).gateway == OFFLINE


@pytest.mark.parametrize("behaviour", [Behaviour.UNAVAILABLE, Behaviour.REFUSES, Behaviour.LOSES_ANSWERS])
async def test_seat_is_reserved_without_a_link_while_the_gateway_fails(
    app: BookingApplication, behaviour: Behaviour
) -> None:
    event = await app.event()
    app.gateway.behaviour = behaviour
    booking = await app.book(event)
    assert booking.payment_url is None
    assert app.booking(booking.reserved.id).hold_until == app.clock.now() + HOLD


async def test_number_of_unpaid_bookings_of_a_person_is_limited(app: BookingApplication) -> None:
    person, facilitator = await app.person(), await app.person(Role.FACILITATOR)
    held = [(await app.book(await app.event(facilitator), person)).reserved for _ in range(DEFAULT_LIMITS.per_account)]
    another = await app.event(facilitator)
    with pytest.raises(TooManyUnpaidHolds):
        await app.book(another, person)
    assert app.stored_event(another.id).booked == 0
    await app.book(await app.event(facilitator, price=inr(0)), person)
    await app.cancel_booking(person, held[0].id)
    await app.book(another, person)


async def test_paying_an_unpaid_booking_allows_another(app: BookingApplication) -> None:
    person, facilitator = await app.person(), await app.person(Role.FACILITATOR)
    held = [(await app.book(await app.event(facilitator), person)).reserved for _ in range(DEFAULT_LIMITS.per_account)]
    await app.settle("gateway", app.gateway.pay(app.payment_id(held[0].id)))
    await app.book(await app.event(facilitator), person)


async def test_unpaid_hold_counts_until_it_has_expired(app: BookingApplication) -> None:
    person, events = await app.person(), [await app.event() for _ in range(DEFAULT_LIMITS.per_account + 1)]
    for event in events[:-1]:
        await app.book(event, person)
    with pytest.raises(AlreadyBooked):  # a reason of the event comes first
        await app.book(events[0], person)
    app.clock.advance(HOLD)
    with pytest.raises(TooManyUnpaidHolds):
        await app.book(events[-1], person)
    await app.expire_holds()
    await app.book(events[-1], person)


async def test_unpaid_bookings_are_not_limited_where_payments_are_made_on_site() -> None:
    app = BookingApplication(gateway=OFFLINE)
    person, facilitator = await app.person(), await app.person(Role.FACILITATOR)
    for _ in range(DEFAULT_LIMITS.per_account + 1):
        await app.book(await app.event(facilitator), person)


async def test_price_and_refund_policy_are_stored_with_the_booking(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    new = {"price": inr(500), "refund_policy": RefundPolicy.of([])}
    await app.update_event(app.facilitator(event), event.id, lambda old: app.changed(old, **new))
    stored = app.booking(booking.id)
    assert (stored.price, stored.refund_policy) == (inr(100), RefundPolicy())
    assert app.payment(booking.id).price == inr(100)


async def test_notes_are_cleaned_and_limited(app: BookingApplication) -> None:
    event, person = await app.event(), await app.person()
    with pytest.raises(Invalid):
        await app.book_seat(person, event.id, "x" * (MAX_NOTES + 1))
    booking = await app.book_seat(person, event.id, "Vegetarian")
    assert app.booking(booking.reserved.id).notes == "Vegetarian"


async def test_return_address_has_to_be_allowed(app: BookingApplication) -> None:
    event, person = await app.event(), await app.person()
    with pytest.raises(Invalid):
        await app.book_seat(person, event.id, None, return_url="https://elsewhere.example/")
    assert app.bookings_of(event) == []
    booking = await app.book_seat(person, event.id, None, return_url=RETURN_URL)
    assert app.payments_of(booking.reserved.id)[0].return_url == RETURN_URL


async def test_reservation_is_tried_again_when_a_seat_becomes_free(app: BookingApplication) -> None:
    """The seat becomes free between the refusal and the query for its reason."""
    event = await app.event(capacity=1, starts_in=HOUR)
    first = (await app.book(event)).reserved
    person, find_event = await app.person(), app.seats.find_event

    async def freed(*about: object) -> object:
        if app.booking(first.id).status is BookingStatus.CONFIRMED:
            await app.cancel_booking(app.owner(first.id), first.id)
        return await find_event(*about)  # type: ignore[arg-type]

    app.seats.find_event = freed  # type: ignore[method-assign, assignment]
    assert (await app.book(event, person)).reserved.user_id == person.id


@pytest.mark.parametrize("gateway", ["gateway", OFFLINE])
async def test_reservation_is_refused_if_it_fails_repeatedly(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app, tries = BookingApplication(gateway=gateway), []

    async def taken(*args: object, **about: object) -> None:
        tries.append(about)

    event = await app.event()
    monkeypatch.setattr(app.seats, "reserve", taken)
    with pytest.raises(EventFull):
        await app.book(event)
    assert len(tries) == LOOKS
