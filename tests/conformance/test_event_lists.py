"""The ports of lists of events, the search and the dashboard, in memory and in PostgreSQL."""

from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import uuid4

import pytest

from application.bookings.ports import FacilitatorQueries
from application.events.ports import EventFilter, EventView
from application.ports import PageRequest
from domain.accounts import Role, User
from domain.disputes import Dispute, DisputeStatus
from domain.errors import Invalid
from domain.events import Event, EventId, EventNotFound, EventType
from domain.ids import BookingRef
from domain.refunds import RefundPolicy
from domain.reviews import Review
from infrastructure.postgres.events.facilitator_queries import PostgresFacilitatorQueries
from tests.conformance.booking_adapters import ALL, DAY, NOW, BookingAdapters, in_memory, in_postgres, inr
from tests.support.memory.queries import MemoryFacilitatorQueries
from tests.support.memory.store import SettableClock, Store


@dataclass
class ListAdapters:
    """Events of one `facilitator`; the database has those of other tests."""

    adapters: BookingAdapters
    facilitators: FacilitatorQueries
    facilitator: User

    async def event(self, **changes: object) -> Event:
        return await self.adapters.event(facilitator=self.facilitator, **changes)

    async def events(self, page: PageRequest = ALL, **filters: object) -> list[EventView]:
        chosen = EventFilter(facilitator_id=self.facilitator.id, **filters)  # type: ignore[arg-type]
        return list((await self.adapters.events.list(chosen, page, NOW)).items)

    async def titles(self, **filters: object) -> list[str]:
        return [event.title for event in await self.events(ALL, **filters)]

    async def cancel(self, event: Event) -> None:
        async with self.adapters.changing() as work:
            await work.events.save((await work.events.get(event.id)).cancelled(NOW, by=self.facilitator.id))

    async def review(self, event: Event, rating: int) -> None:
        user = await self.adapters.person()
        async with self.adapters.changing() as work:
            await work.reviews.add(Review(event.id, user.id, rating, None, NOW), facilitator_id=self.facilitator.id)


@pytest.fixture(params=["memory", "postgres"])
def adapters(request: pytest.FixtureRequest) -> tuple[BookingAdapters, FacilitatorQueries]:
    if request.param == "memory":
        store = Store()
        return in_memory(store, SettableClock(NOW)), MemoryFacilitatorQueries(store)
    database = request.getfixturevalue("postgres_database")
    return in_postgres(database), PostgresFacilitatorQueries(database)


@pytest.fixture
async def lists(adapters: tuple[BookingAdapters, FacilitatorQueries]) -> ListAdapters:
    return ListAdapters(*adapters, await adapters[0].person(Role.FACILITATOR))


async def test_list_is_by_start_in_pages(lists: ListAdapters) -> None:
    for days in (3, 1, 2):
        await lists.event(title=f"{days}", starts_in=days * DAY)
    await lists.event(title="2 too", starts_in=2 * DAY)
    seen, after = [], None
    while True:
        page = await lists.adapters.events.list(
            EventFilter(facilitator_id=lists.facilitator.id), PageRequest(limit=3, after=after), NOW
        )
        seen += [event.title for event in page.items]
        after = page.next
        if after is None:
            break
    assert seen == ["1", "2", "2 too", "3"]
    with pytest.raises(Invalid):
        await lists.events(PageRequest(after="no cursor"))


async def test_list_has_events_of_the_wanted_state(lists: ListAdapters) -> None:
    await lists.event(title="ahead")
    await lists.event(title="over", starts_in=-2 * DAY)
    await lists.cancel(await lists.event(title="cancelled"))
    assert await lists.titles() == ["ahead"]
    assert await lists.titles(active=True) == ["over", "ahead"]
    assert await lists.titles(active=False) == ["cancelled"]


async def test_list_has_no_events_of_a_deactivated_facilitator(lists: ListAdapters) -> None:
    event = await lists.event()
    async with lists.adapters.changing() as work:
        await work.users.save(replace(await work.users.get(lists.facilitator.id), is_active=False))
    assert await lists.titles() == []
    assert not (await lists.adapters.events.get(event.id)).facilitator_active


async def test_kind_is_the_type_or_the_category_in_any_case(lists: ListAdapters) -> None:
    await lists.event(title="a", category="Mindfulness")
    await lists.event(title="b", event_type=EventType.RETREAT)
    assert await lists.titles(kind="mindfulNESS") == ["a"]
    assert await lists.titles(kind="Retreat") == ["b"]
    assert await lists.titles(kind="mind") == []


async def test_start_place_and_price_bound_the_list(lists: ListAdapters) -> None:
    await lists.event(title="soon", starts_in=DAY, location=None, virtual_link="https://meet.example/1", price=inr(0))
    await lists.event(title="later", starts_in=2 * DAY, location="Hall", virtual_link=None, price=inr(20))
    await lists.event(title="both", starts_in=3 * DAY, location="Hall", virtual_link="https://meet.example/1")
    assert await lists.titles(starts_from=NOW + 2 * DAY) == ["later", "both"]
    assert await lists.titles(starts_before=NOW + 2 * DAY) == ["soon"]
    assert await lists.titles(online=True) == ["soon", "both"]
    assert await lists.titles(online=False) == ["later", "both"]
    assert await lists.titles(highest_price=Decimal(20)) == ["soon", "later"]
    assert await lists.titles(highest_price=Decimal(0), starts_from=NOW, text="soon") == ["soon"]


async def test_event_names_the_time_zone_of_its_facilitator(lists: ListAdapters) -> None:
    event = await lists.event()
    async with lists.adapters.changing() as work:
        await work.users.save(replace(await work.users.get(lists.facilitator.id), timezone="Asia/Tokyo"))
    assert (await lists.adapters.events.get(event.id)).facilitator_timezone == "Asia/Tokyo"


async def test_refund_policy_of_an_event_is_found(lists: ListAdapters) -> None:
    policy = RefundPolicy.of([(48, 100), (24, 50)])
    event = await lists.event(refund_policy=policy)
    assert await lists.adapters.events.refund_policy(event.id) == policy
    with pytest.raises(EventNotFound):
        await lists.adapters.events.refund_policy(EventId(10**12))


async def test_rating_of_the_facilitator_is_a_lower_bound(lists: ListAdapters) -> None:
    event = await lists.event()
    assert await lists.titles(least_rating=Decimal(0)) == [], "without a review there is no rating"
    for rating in (5, 4):
        await lists.review(event, rating)
    assert len(await lists.titles(least_rating=Decimal("4.5"))) == 1
    assert await lists.titles(least_rating=Decimal("4.51")) == []
    (view,) = await lists.events()
    assert view.rating == 4.5


async def test_every_word_has_to_begin_a_word_of_the_event(lists: ListAdapters) -> None:
    await lists.event(title="Morning Yoga", description="Slow and steady", category="Wellness")
    await lists.event(title="Evening Yoga", description="Fast")
    name = lists.facilitator.name.split()[0]
    for text, found in (
        ("yoga", 2),
        ("YOG", 2),
        ("morn yoga", 1),
        ("well", 1),
        ("steady mor", 1),
        (f"{name} evening", 1),
        ("oga", 0),
        ("morning fast", 0),
        ("y", 0),
    ):
        assert len(await lists.titles(text=text)) == found, text
    with pytest.raises(Invalid):
        await lists.titles(text=" - ")


async def test_viewer_with_a_paid_or_free_seat_has_one(lists: ListAdapters) -> None:
    event = await lists.event(price=inr(0))
    user = await lists.adapters.person()
    await lists.adapters.booked(event, user)
    chosen = EventFilter(facilitator_id=lists.facilitator.id)
    for viewer, has_seat in ((user.id, True), (lists.facilitator.id, False), (None, False)):
        (view,) = (await lists.adapters.events.list(chosen, ALL, NOW, viewer=viewer)).items
        assert view.viewer_has_seat is has_seat


async def test_list_of_a_facilitator_has_all_events_latest_first(lists: ListAdapters) -> None:
    await lists.event(title="over", starts_in=-2 * DAY)
    await lists.event(title="ahead", starts_in=3 * DAY)
    await lists.cancel(await lists.event(title="cancelled", starts_in=DAY))
    seen, after = [], None
    while True:
        page = await lists.adapters.events.list_of_facilitator(lists.facilitator.id, PageRequest(2, after))
        seen += [event.title for event in page.items]
        after = page.next
        if after is None:
            break
    assert seen == ["ahead", "cancelled", "over"]


async def test_dashboard_counts_events_bookings_and_money(lists: ListAdapters) -> None:
    event = await lists.event(starts_in=2 * DAY)
    await lists.event(starts_in=-2 * DAY)
    await lists.cancel(await lists.event())
    await lists.adapters.paid(event)
    paid = await lists.adapters.paid(event)
    newest = await lists.adapters.booked(event)
    await lists.adapters.paid(await lists.adapters.event())
    found = await lists.facilitators.dashboard(lists.facilitator.id, NOW, recent=2)
    assert (found.total_sessions, found.active_sessions, found.upcoming_sessions) == (3, 2, 1)
    assert (found.total_bookings, found.revenue) == (3, {"INR": Decimal(200)})
    assert [booking.id for booking in found.recent] == [newest.id, paid]
    other = await lists.facilitators.dashboard((await lists.adapters.person()).id, NOW, recent=2)
    assert (other.revenue, other.recent) == ({}, [])


async def test_revenue_is_without_refunds_and_lost_disputes(lists: ListAdapters) -> None:
    paid = [await lists.adapters.paid(await lists.event()) for _ in range(4)]
    statuses = (DisputeStatus.OPEN, DisputeStatus.WON, DisputeStatus.LOST)
    for number, status in enumerate(statuses):
        async with lists.adapters.changing() as work:
            payment = await work.payments.get_for(BookingRef(paid[number]))
            await work.payments.save(payment.with_disputes([Dispute(f"dispute {number}", inr(40), status)]))
    async with lists.adapters.changing() as work:
        payment = await work.payments.get_for(BookingRef(paid[3]))
        await work.payments.save(payment.with_refund(inr(25)))
    found = await lists.facilitators.dashboard(lists.facilitator.id, NOW, recent=1)
    assert found.revenue == {"INR": Decimal(400 - 40 - 25)}


async def test_profile_of_a_facilitator_is_found(lists: ListAdapters) -> None:
    assert not await lists.facilitators.has_profile(lists.facilitator.id)
    async with lists.adapters.changing() as work:
        await work.profiles.add(lists.facilitator.id, bio=None, specialization=str(uuid4()))
    assert await lists.facilitators.has_profile(lists.facilitator.id)
