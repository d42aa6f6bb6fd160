"""Rules of reviews, and of what is shown of an event."""

import pytest

from application.ports import PageRequest
from domain.errors import Invalid
from domain.events import Event, EventId, EventNotFound
from domain.reviews import AlreadyReviewed, DidNotAttend, EventNotOver
from tests.application.booking_application import BookingApplication, inr


def end(app: BookingApplication, event: Event) -> None:
    app.clock.moment = event.details.interval.ends_at


async def test_client_who_had_a_seat_reviews_after_the_event(app: BookingApplication) -> None:
    event = await app.event()
    user = app.owner(await app.paid(event))
    with pytest.raises(EventNotOver):
        await app.write_review(user, event.id, rating=5, comment=None)
    end(app, event)
    review = await app.write_review(user, event.id, rating=5, comment=" Good ")
    assert (review.rating, review.comment, review.user_name) == (5, "Good", user.name)
    assert (await app.list_reviews(event.id, PageRequest())).items == [review]


async def test_client_writes_one_review(app: BookingApplication) -> None:
    event = await app.event()
    user = app.owner(await app.paid(event))
    end(app, event)
    await app.write_review(user, event.id, rating=5, comment=None)
    with pytest.raises(AlreadyReviewed):
        await app.write_review(user, event.id, rating=1, comment=None)
    assert (await app.events.get(event.id)).rating == 5


async def test_client_without_a_live_booking_cannot_review(app: BookingApplication) -> None:
    event = await app.event()
    cancelled = (await app.book(event)).reserved
    await app.cancel_booking(app.owner(cancelled.id), cancelled.id)
    end(app, event)
    for user in (await app.person(), app.owner(cancelled.id)):
        with pytest.raises(DidNotAttend):
            await app.write_review(user, event.id, rating=5, comment=None)


async def test_facilitators_cannot_review_their_own_events(app: BookingApplication) -> None:
    event = await app.event(price=inr(0))
    facilitator = app.facilitator(event)
    await app.book(event, facilitator)
    end(app, event)
    with pytest.raises(DidNotAttend):
        await app.write_review(facilitator, event.id, rating=5, comment=None)


async def test_reviews_change_the_rating_of_the_facilitator(app: BookingApplication) -> None:
    event = await app.event()
    users = [app.owner(await app.paid(event)) for _ in range(2)]
    end(app, event)
    for user, rating in zip(users, (5, 2), strict=True):
        await app.write_review(user, event.id, rating=rating, comment=None)
    assert (await app.events.get(event.id)).rating == 3.5


@pytest.mark.parametrize("rating", [0, 6])
async def test_rating_is_from_one_to_five(app: BookingApplication, rating: int) -> None:
    event = await app.event()
    user = app.owner(await app.paid(event))
    end(app, event)
    with pytest.raises(Invalid):
        await app.write_review(user, event.id, rating=rating, comment=None)


async def test_repeated_review_returns_the_same(app: BookingApplication) -> None:
    event = await app.event()
    user = app.owner(await app.paid(event))
    end(app, event)
    first, second = await app.repeated(lambda: app.write_review(user, event.id, rating=4, comment="Good"))
    assert first == second


async def test_event_of_a_deactivated_facilitator_is_not_shown(app: BookingApplication) -> None:
    event = await app.event()
    assert (await app.show_event(event.id, app.facilitator(event))).id == event.id
    app.deactivate(app.facilitator(event))
    for event_id in (event.id, EventId(999)):
        with pytest.raises(EventNotFound):
            await app.show_event(event_id)
        with pytest.raises(EventNotFound):
            await app.list_reviews(event_id, PageRequest())


async def test_event_in_detail_has_its_policy_and_newest_reviews(app: BookingApplication) -> None:
    event = await app.event()
    users = [app.owner(await app.paid(event)) for _ in range(2)]
    end(app, event)
    reviews = [await app.write_review(user, event.id, rating=4, comment=None) for user in users]
    found = await app.show_event_in_detail(event.id, PageRequest(1))
    assert (found.event.id, found.refund_policy) == (event.id, event.details.refund_policy)
    assert found.reviews.items == [reviews[1]]
    app.deactivate(app.facilitator(event))
    with pytest.raises(EventNotFound):
        await app.show_event_in_detail(event.id, PageRequest(1))
