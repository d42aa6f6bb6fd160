"""Reviews of events by people who attended."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from application.events.ports import EventQueries, EventView, ReviewQueries, ReviewView
from application.events.queries import ShowEvent
from application.idempotency import recorded_result
from application.ports import Clock, Page, PageRequest
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.errors import Errors
from domain.events import EventId, EventNotFound
from domain.refunds import RefundPolicy
from domain.reviews import AlreadyReviewed, DidNotAttend, EventNotOver, Review, require_attendance


@use_case
class WriteReview:
    """Reviews an event with a rating from 1 to 5 and an optional comment.

    - A client who had a seat can write one review, after the event. Facilitators cannot review their own events.
    - It changes the facilitator's rating, which the facilitator's events show.
    """

    raises: ClassVar[Errors] = (EventNotFound, DidNotAttend, EventNotOver, AlreadyReviewed)

    open_work: OpenUnitOfWork
    events: EventQueries
    clock: Clock

    async def __call__(self, user: User, event_id: EventId, *, rating: int, comment: str | None) -> ReviewView:
        now = self.clock.now()
        event = await self.events.get(event_id)
        review = Review(event_id, user.id, rating, comment, now)
        if (made := recorded_result()) is not None:
            return ReviewView(
                made["id"], rating, review.comment, user.id, user.name, datetime.fromisoformat(made["at"])
            )
        async with self.open_work() as work:
            has_booking = await work.bookings.has_live_booking(event_id, user.id)
            require_attendance(
                ended_at=event.ends_at, now=now, has_booking=has_booking, is_host=event.facilitator_id == user.id
            )
            review_id = await work.reviews.add(review, facilitator_id=event.facilitator_id)
            await work.commit(made={"id": review_id, "at": now.isoformat()})
        return ReviewView(review_id, rating, review.comment, user.id, user.name, now)


@dataclass(frozen=True, slots=True)
class EventInDetail:
    """An event, the refund policy of new bookings, and the newest reviews."""

    event: EventView
    refund_policy: RefundPolicy
    reviews: Page[ReviewView]


@use_case
class ShowEventInDetail:
    """One event with what a client reads before booking it. Found like `ShowEvent` finds it."""

    raises: ClassVar[Errors] = (EventNotFound,)

    show_event: ShowEvent
    events: EventQueries
    reviews: ReviewQueries

    async def __call__(self, event_id: EventId, reviews: PageRequest, viewer: User | None = None) -> EventInDetail:
        return EventInDetail(
            await self.show_event(event_id, viewer),
            await self.events.refund_policy(event_id),
            await self.reviews.list_of_event(event_id, reviews),
        )


@use_case
class ListReviews:
    """The reviews of an event, newest first."""

    raises: ClassVar[Errors] = (EventNotFound,)

    show_event: ShowEvent
    reviews: ReviewQueries

    async def __call__(self, event_id: EventId, page: PageRequest) -> Page[ReviewView]:
        await self.show_event(event_id)
        return await self.reviews.list_of_event(event_id, page)
