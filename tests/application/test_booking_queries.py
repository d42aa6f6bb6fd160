"""Rules of access to a booking, and to the bookings of an event."""

import pytest

from application.bookings.queries import ShowBooking
from application.events.queries import EventBookings
from application.ports import PageRequest
from domain.accounts import Role
from domain.bookings import BookingForbidden, BookingNotFound
from domain.events import EventForbidden, EventId, EventNotFound
from domain.ids import BookingId
from tests.application.booking_application import BookingApplication

LINK = "https://meet.example/1"


async def test_booking_is_shown_to_its_owner_its_facilitator_and_admins(app: BookingApplication) -> None:
    event, show = await app.event(), ShowBooking(app.bookings)
    booking_id = await app.paid(event)
    for user in (app.owner(booking_id), app.facilitator(event), await app.person(Role.ADMIN)):
        assert (await show(user, booking_id)).id == booking_id
    for user in (await app.person(), await app.person(Role.FACILITATOR)):
        with pytest.raises(BookingForbidden):
            await show(user, booking_id)
    with pytest.raises(BookingNotFound):
        await show(app.owner(booking_id), BookingId(999))


async def test_bookings_of_an_event_are_shown_to_its_facilitator_and_admins(app: BookingApplication) -> None:
    event, show = await app.event(), EventBookings(app.bookings)
    ids = [(await app.book(event)).reserved.id for _ in range(2)]
    await app.cancel_booking(app.owner(ids[0]), ids[0])
    for user in (app.facilitator(event), await app.person(Role.ADMIN)):
        view, page = await show(user, event.id, PageRequest())
        assert (view.id, [each.id for each in page.items]) == (event.id, ids[::-1])
    for user in (await app.person(Role.FACILITATOR), app.owner(ids[1])):
        with pytest.raises(EventForbidden):
            await show(user, event.id, PageRequest())
    with pytest.raises(EventNotFound):
        await show(app.facilitator(event), EventId(999), PageRequest())


async def test_join_link_is_shown_once_the_seat_is_paid(app: BookingApplication) -> None:
    event = await app.event(virtual_link=LINK)
    booking_id, show = (await app.book(event)).reserved.id, ShowBooking(app.bookings)
    owner = app.owner(booking_id)
    assert (await show(owner, booking_id)).join_link(owner) is None
    assert (await app.show_event(event.id, owner)).join_link(owner) is None
    await app.settle("gateway", app.gateway.pay(app.payment_id(booking_id)))
    assert (await show(owner, booking_id)).join_link(owner) == LINK
    assert (await app.show_event(event.id, owner)).join_link(owner) == LINK
    assert (await app.show_event(event.id)).join_link(None) is None
