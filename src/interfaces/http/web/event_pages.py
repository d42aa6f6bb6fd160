"""The public pages of events: the list, the calendar of a month, and one event."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Response, get
from litestar.params import FromPath

from application.events.ports import EventQueries, EventView
from application.events.reviews import ShowEventInDetail
from application.ports import Clock, Page, PageRequest
from domain.bookings import MAX_NOTES
from domain.errors import Invalid
from domain.events import EventId, EventStatus
from interfaces.http.injection import Inject
from interfaces.http.parameters import EventIdInPath
from interfaces.http.web.event_search import EventSearch, Month, coming_months
from interfaces.http.web.page_sessions import PageUser, public_page
from interfaces.http.web.pages import AnyRequest, Pages
from interfaces.http.web.refund_policies import sentences
from servicekit.date_range import in_zone

EVENTS_OF_PAGE = 20
EVENTS_OF_CALENDAR = 300
"""The most events that the calendar of a month shows; the list has all."""
REVIEWS_OF_PAGE = 10

_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the calendar with its events. `column`: from 1 to 7."""

    day: date
    column: int
    events: Sequence[EventView]


@get("/book", operation_id="showEventsPage", include_in_schema=False, opt=public_page)
async def show_events_page(
    request: AnyRequest,
    pages: Inject[Pages],
    event_queries: Inject[EventQueries],
    clock: Inject[Clock],
    visitor_account: Inject[PageUser],  # noqa: ARG001 (shown by the layout)
) -> Response[str]:
    """The events that can be booked, as a list or as the calendar of a month."""
    search, now = EventSearch.of(request.query_params), clock.now()
    visitor = pages.visitor(request)
    zone = visitor.zone or _UTC
    today = in_zone(now, zone).date()
    is_calendar = search.view == "calendar"
    month = search.month or (Month.of(today) if is_calendar else None)
    starts_from = starts_before = None
    if month is not None:
        # Days are those of each event's zone, unless the visitor's is known.
        more = timedelta(days=1) if is_calendar and visitor.zone is None else timedelta()
        starts_from, starts_before = month.starts_at(zone) - more, month.next.starts_at(zone) + more
    page = PageRequest(EVENTS_OF_CALENDAR) if is_calendar else PageRequest(EVENTS_OF_PAGE, search.cursor)
    search, found = await _found(event_queries, search, (starts_from, starts_before), page, now)
    values: dict[str, Any] = {"search": search, "months": [*coming_months(today)], "found": found, "month": month}
    if not is_calendar or month is None:
        return pages.show(request, "events.html", **values)
    zones = {event.id: visitor.zone_or(event.facilitator_timezone) for event in found.items}
    days = [*_days(month, found.items, zones, visitor.language.locale.first_week_day)]
    return pages.show(request, "events_calendar.html", days=days, is_first=month == Month.of(today), **values)


@get("/book/events/{event_id:str}", operation_id="showEventPage", include_in_schema=False, opt=public_page)
async def show_event_page(
    request: AnyRequest,
    pages: Inject[Pages],
    event_id: FromPath[EventIdInPath],
    show_event_in_detail: Inject[ShowEventInDetail],
    clock: Inject[Clock],
    visitor_account: Inject[PageUser],
) -> Response[str]:
    """One event with its reviews and its refund policy."""
    reviews = PageRequest(REVIEWS_OF_PAGE, request.query_params.get("reviews") or None)
    try:
        shown = await show_event_in_detail(event_id, reviews, visitor_account.user)
    except Invalid:  # no cursor of reviews
        shown = await show_event_in_detail(event_id, replace(reviews, after=None), visitor_account.user)
    now, event = clock.now(), shown.event
    if event.status is EventStatus.CANCELLED:
        state = "cancelled"
    elif event.starts_at <= now:
        state = "started"
    else:
        state = "open" if event.available else "full"
    refunds = sentences(shown.refund_policy, pages.visitor(request).language)
    return pages.show(
        request, "event.html", shown=shown, event=event, state=state, refunds=refunds, max_notes=MAX_NOTES
    )


ROUTES = [show_events_page, show_event_page]


async def _found(
    queries: EventQueries,
    search: EventSearch,
    bounds: tuple[datetime | None, datetime | None],
    page: PageRequest,
    now: datetime,
) -> tuple[EventSearch, Page[EventView]]:
    """The events of a page. Without text that has no word, and from the first on for a cursor of another list."""
    while True:
        try:
            return search, await queries.list(search.filters(*bounds), page, now)
        except Invalid as error:
            if search.wrong.issuperset(error.details):
                raise
            search, page = search.without(*error.details), replace(page, after=None)


def _days(
    month: Month, events: Sequence[EventView], zones: dict[EventId, ZoneInfo], first_week_day: int
) -> Iterator[Day]:
    by_day: dict[date, list[EventView]] = {}
    for event in events:
        by_day.setdefault(in_zone(event.starts_at, zones[event.id]).date(), []).append(event)
    day = month.first
    while Month.of(day) == month:
        yield Day(day, (day.weekday() - first_week_day) % 7 + 1, by_day.get(day, ()))
        day += timedelta(days=1)
