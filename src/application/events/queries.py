"""Queries about events."""

from typing import ClassVar

from application.bookings.ports import BookingQueries, BookingView
from application.events.ports import EventQueries, EventView
from application.ports import Page, PageRequest
from application.use_cases import use_case
from domain.accounts import User
from domain.authorization import require_organiser
from domain.errors import Errors
from domain.events import EventForbidden, EventId, EventNotFound


@use_case
class ShowEvent:
    """One event. While its facilitator is deactivated, it is not found; a booking of it still shows it."""

    raises: ClassVar[Errors] = (EventNotFound,)

    reader: EventQueries

    async def __call__(self, event_id: EventId, viewer: User | None = None) -> EventView:
        event = await self.reader.get(event_id, viewer=viewer.id if viewer else None)
        if not event.facilitator_active:
            raise EventNotFound
        return event


@use_case
class EventBookings:
    """An event and its bookings at one moment. For its facilitator and admins."""

    raises: ClassVar[Errors] = (EventNotFound, EventForbidden)

    reader: BookingQueries

    async def __call__(self, user: User, event_id: EventId, page: PageRequest) -> tuple[EventView, Page[BookingView]]:
        event, bookings = await self.reader.of_event(event_id, page)
        require_organiser(user, event.facilitator_id, error=EventForbidden)
        return event, bookings
