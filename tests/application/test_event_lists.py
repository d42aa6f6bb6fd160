"""Rules of single events, lists of events and the dashboard of a facilitator."""

from decimal import Decimal

import pytest

from application.bookings.queries import ShowBooking
from application.events.ports import EventFilter
from application.ports import PageRequest
from domain.accounts import User
from domain.errors import Invalid
from domain.events import EventId, EventNotFound
from tests.application.booking_application import DAY, HOUR, BookingApplication, inr
from tests.support.memory.queries import MemoryFacilitatorQueries

LINK = "https://meet.example/1"


async def titles(app: BookingApplication, user: User | None = None, **filters: object) -> list[str]:
    viewer = user.id if user else None
    chosen = EventFilter(**filters)  # type: ignore[arg-type]
    page = await app.events.list(chosen, PageRequest(), app.clock.now(), viewer=viewer)
    return [event.title for event in page.items]


async def test_event_of_a_deactivated_facilitator_is_shown_by_its_bookings_only(app: BookingApplication) -> None:
    event = await app.event(price=inr(0))
    booking_id = (await app.book(event)).reserved.id
    owner = app.owner(booking_id)
    assert (await app.show_event(event.id, owner)).id == event.id
    app.deactivate(app.facilitator(event))
    for viewer in (None, owner, app.facilitator(event)):
        with pytest.raises(EventNotFound):
            await app.show_event(event.id, viewer)
    assert await titles(app) == []
    assert (await ShowBooking(app.bookings)(owner, booking_id)).event.id == event.id


async def test_unknown_and_deleted_events_are_not_found(app: BookingApplication) -> None:
    event = await app.event()
    await app.delete_event(app.facilitator(event), event.id)
    for event_id in (event.id, EventId(999)):
        with pytest.raises(EventNotFound):
            await app.show_event(event_id)


async def test_list_has_active_events_that_have_not_ended_by_start(app: BookingApplication) -> None:
    first = await app.event(title="ends soon", starts_in=HOUR)
    for title, starts_in in (("later", 3 * DAY), ("soon", 2 * DAY)):
        await app.event(title=title, starts_in=starts_in)
    cancelled, deleted = await app.event(title="cancelled"), await app.event(title="deleted")
    await app.cancel_event(app.facilitator(cancelled), cancelled.id)
    await app.delete_event(app.facilitator(deleted), deleted.id)
    assert await titles(app) == ["ends soon", "soon", "later"]
    app.clock.moment = first.details.interval.ends_at
    assert await titles(app) == ["soon", "later"]
    assert await titles(app, active=True) == ["ends soon", "soon", "later"]
    assert await titles(app, active=False) == ["cancelled"]


async def test_search_without_a_word_is_invalid(app: BookingApplication) -> None:
    with pytest.raises(Invalid):
        await titles(app, text=" -- ")


async def test_join_link_is_listed_for_people_with_a_seat(app: BookingApplication) -> None:
    event = await app.event(virtual_link=LINK)
    paid, unpaid = await app.paid(event), (await app.book(event)).reserved.id
    for user, link in ((app.owner(paid), LINK), (app.owner(unpaid), None), (app.facilitator(event), LINK)):
        page = await app.events.list(EventFilter(), PageRequest(), app.clock.now(), viewer=user.id)
        assert [each.join_link(user) for each in page.items] == [link]


async def test_dashboard_counts_the_events_bookings_and_received_money_of_a_facilitator(
    app: BookingApplication,
) -> None:
    queries = MemoryFacilitatorQueries(app.store)
    paid_event = await app.event(starts_in=DAY)
    john = app.facilitator(paid_event)
    other = await app.event(john, starts_in=2 * DAY)
    cancelled = await app.event(john)
    await app.cancel_event(john, cancelled.id)
    await app.paid(await app.event())
    await app.book(other)
    refunded = await app.paid(paid_event)
    await app.paid(paid_event)
    await app.cancel_booking(app.owner(refunded), refunded)
    app.clock.moment = paid_event.details.interval.starts_at
    found = await queries.dashboard(john.id, app.clock.now(), recent=1)
    assert (found.total_sessions, found.active_sessions, found.upcoming_sessions) == (3, 2, 1)
    assert (found.total_bookings, found.revenue) == (2, {"INR": Decimal(100)})
    empty = await queries.dashboard((await app.person()).id, app.clock.now(), recent=1)
    assert (empty.total_sessions, empty.revenue) == (0, {})
