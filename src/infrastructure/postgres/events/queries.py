"""Queries about events, bookings and reviews: each page is made by one statement."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg

from application.bookings.ports import BookingFilter, BookingView
from application.events.ports import EventFilter, EventView, ReviewView
from application.ports import Page, PageRequest
from domain.accounts import UserId
from domain.bookings import BookingNotFound, BookingStatus
from domain.disputes import DisputeStatus
from domain.events import EventId, EventNotFound, EventStatus, EventType
from domain.ids import BookingId
from domain.money import Money
from domain.payments import PaymentStatus
from domain.refunds import RefundPolicy
from domain.reviews import ReviewId
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.listing import LATEST_OF_FACILITATOR, events_among, events_found, first_events
from infrastructure.postgres.events.search import search_for
from infrastructure.postgres.outbox.payloads import AGREED
from infrastructure.postgres.pages import cursor_of, id_after, limited, moment_and_id_after, unplanned

_EVENT = """
    e.id AS event_id, e.title, e.description, e.event_type, e.category, e.starts_at, e.ends_at, e.location,
    e.virtual_link, e.capacity, e.booked, e.price, e.currency, e.status AS event_status,
    e.created_at AS event_created_at, f.id AS facilitator_id, f.uuid AS facilitator_uuid,
    f.name AS facilitator_name, f.email AS facilitator_email, f.is_active AS facilitator_active,
    f.timezone AS facilitator_timezone,
    fp.rating_sum::float8 / nullif(fp.rating_count, 0) AS rating
"""

_FACILITATOR = "JOIN users f ON f.id = e.facilitator_id LEFT JOIN facilitator_profiles fp ON fp.user_id = f.id"

# The same rule as `shows_join_link` in the domain. Without a viewer there is no such booking.
_SEAT = """EXISTS (
    SELECT FROM bookings s WHERE s.event_id = e.id AND s.user_id = (SELECT $1::bigint) AND s.status <> 'cancelled'
      AND s.payment_status NOT IN ('pending', 'failed')) AS viewer_has_seat"""

_EVENTS = f"SELECT {_EVENT}, {_SEAT} FROM {{}} e {_FACILITATOR}"  # noqa: S608
"""`$1` is the id of the viewer."""

NEXT_EVENTS = 25
"""Events that a search compares for each entry of a page, before it uses the index of words."""
_MOST_EVENTS = 5_000
"""Events that a search compares, if the next events make likely that half of them suffice."""

_LATEST_EVENTS = f"{_EVENTS.format(LATEST_OF_FACILITATOR)} ORDER BY e.starts_at DESC, e.id DESC"

_BOOKING = f"""
    b.id, b.reference, b.status, b.payment_status, b.dispute, b.notes, b.created_at, b.cancelled_at,
    u.id AS user_id, u.name AS user_name, u.email AS user_email, u.phone AS user_phone,
    p.gateway_payment_id, p.gateway_reference, {AGREED[0]} AS agreed_price, {AGREED[1]} AS agreed_currency,
    {_EVENT}, false AS viewer_has_seat
"""

_PAYMENT = "LEFT JOIN LATERAL (SELECT * FROM payments WHERE booking_id = b.id ORDER BY id DESC LIMIT 1) p ON true"

_BOOKINGS = f"""
    SELECT {_BOOKING}
    FROM {{}} b
    JOIN users u ON u.id = b.user_id
    JOIN events e ON e.id = b.event_id
    {_FACILITATOR} {_PAYMENT}
"""  # noqa: S608 (composed of constants)

# A page begins at its position in the index, also in a plan for any values. The page is chosen first, and then joined.
_BEFORE = unplanned("coalesce($1::bigint, 9223372036854775807)")
_OWNER = unplanned("$2::bigint")

_OF_USER = f"""(
        SELECT * FROM bookings
        WHERE (user_id, id) < ({_OWNER}, {_BEFORE}) AND (user_id, id) >= ({_OWNER}, 0)
          AND coalesce(status = {unplanned("$3::text")}, true)
          AND coalesce(payment_status = {unplanned("$4::text")}, true)
        ORDER BY user_id DESC, id DESC LIMIT :rows
    )"""  # noqa: S608 (composed of constants)

# Bookings that an older version wrote have no facilitator until the worker fills it in. The subquery is scalar, so that
# the plan starts from them.
_OF_FACILITATOR = f"""(
        (SELECT * FROM bookings
         WHERE (facilitator_id, id) < ({_OWNER}, {_BEFORE}) AND (facilitator_id, id) >= ({_OWNER}, 0)
         ORDER BY facilitator_id DESC, id DESC LIMIT :rows)
        UNION ALL
        (SELECT * FROM bookings b WHERE facilitator_id IS NULL AND id < {_BEFORE}
           AND (SELECT facilitator_id FROM events WHERE id = b.event_id) = {_OWNER}
         ORDER BY id DESC LIMIT :rows)
    )"""  # noqa: S608 (composed of constants)

_NEWEST_OF_USER, NEWEST_OF_FACILITATOR = (
    f"{_BOOKINGS.format(chosen)} ORDER BY b.id DESC LIMIT :rows" for chosen in (_OF_USER, _OF_FACILITATOR)
)

_BOOKINGS_OF_EVENT = f"""
    SELECT {_BOOKING}
    FROM events e {_FACILITATOR}
    LEFT JOIN LATERAL (
        SELECT * FROM bookings WHERE (event_id, id) < (e.id, {_BEFORE}) AND (event_id, id) >= (e.id, 0)
        ORDER BY event_id DESC, id DESC LIMIT :rows
    ) b ON true
    LEFT JOIN users u ON u.id = b.user_id
    {_PAYMENT}
    WHERE e.id = $2 AND e.hidden_at IS NULL
    ORDER BY b.id DESC
"""  # noqa: S608 (composed of constants)
"""One row without a booking for an event that has none."""

_REVIEWS_OF_EVENT = f"""
    SELECT r.id, r.rating, r.comment, r.created_at, u.id AS user_id, u.name AS user_name
    FROM reviews r JOIN users u ON u.id = r.user_id
    WHERE r.event_id = {_OWNER} AND r.id < {_BEFORE} ORDER BY r.id DESC LIMIT :rows
"""  # noqa: S608 (composed of constants)


class PostgresEventQueries:
    """`emails_public`: whether events show the e-mail addresses of their facilitators."""

    def __init__(self, database: Database, *, emails_public: bool = True) -> None:
        self._database = database
        self._emails_public = emails_public

    async def get(self, event_id: EventId, *, viewer: UserId | None = None) -> EventView:
        rows = await _fetch(
            self._database, f"{_EVENTS.format('events')} WHERE e.id = $2 AND e.hidden_at IS NULL", viewer, event_id
        )
        if not rows:
            raise EventNotFound
        return self._shown(_event(rows[0]))

    async def list(
        self, filters: EventFilter, page: PageRequest, now: datetime, *, viewer: UserId | None = None
    ) -> Page[EventView]:
        position = moment_and_id_after(page.after)

        async def rows_of(chosen: str, values: Sequence[object]) -> "Sequence[asyncpg.Record]":
            query = f"{_EVENTS.format(chosen)} ORDER BY e.starts_at, e.id LIMIT :rows"
            return await _fetch(self._database, limited(query, page), viewer, *position, *values)

        if filters.text is None:
            return self._page(await rows_of(*first_events(filters, now)), page)
        search = await search_for(self._database, filters.text)
        # Words that many events have are found fastest among the next events, and other words by their index.
        wanted = page.limit + 1
        number = min(NEXT_EVENTS * wanted, _MOST_EVENTS // 2)
        rows = await rows_of(*events_among(filters, search, now, number))
        if number * wanted <= len(rows) * _MOST_EVENTS // 2 and len(rows) < wanted:
            rows = await rows_of(*events_among(filters, search, now, _MOST_EVENTS))
        if len(rows) < wanted:
            rows = await rows_of(*events_found(filters, search, now))
        return self._page(rows, page)

    async def refund_policy(self, event_id: EventId) -> RefundPolicy:
        rows = await _fetch(
            self._database, "SELECT refund_policy FROM events WHERE id = $1 AND hidden_at IS NULL", event_id
        )
        if not rows:
            raise EventNotFound
        return RefundPolicy.of(rows[0]["refund_policy"])

    async def list_of_facilitator(self, facilitator_id: UserId, page: PageRequest) -> Page[EventView]:
        position = moment_and_id_after(page.after)
        return self._page(await _fetch(self._database, limited(_LATEST_EVENTS, page), facilitator_id, *position), page)

    def _page(self, rows: "Sequence[asyncpg.Record]", page: PageRequest) -> Page[EventView]:
        events = [self._shown(_event(row)) for row in rows[: page.limit]]
        more = len(rows) > page.limit
        return Page(events, cursor_of(events[-1].starts_at, events[-1].id) if more else None)

    def _shown(self, event: EventView) -> EventView:
        return event if self._emails_public else replace(event, facilitator_email=None)


class PostgresBookingQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, booking_id: BookingId) -> BookingView:
        rows = await _fetch(self._database, f"{_BOOKINGS.format('bookings')} WHERE b.id = $1", booking_id)
        if not rows:
            raise BookingNotFound
        return booking_view(rows[0])

    async def list_of_user(self, user_id: UserId, filters: BookingFilter, page: PageRequest) -> Page[BookingView]:
        values = (user_id, filters.status, filters.payment_status)
        return await self._page(_NEWEST_OF_USER, page, *values)

    async def of_event(self, event_id: EventId, page: PageRequest) -> tuple[EventView, Page[BookingView]]:
        rows = await _fetch(self._database, limited(_BOOKINGS_OF_EVENT, page), id_after(page.after), event_id)
        if not rows:
            raise EventNotFound
        return _event(rows[0]), _bookings([row for row in rows if row["id"] is not None], page)

    async def list_of_facilitator(self, facilitator_id: UserId, page: PageRequest) -> Page[BookingView]:
        return await self._page(NEWEST_OF_FACILITATOR, page, facilitator_id)

    async def _page(self, query: str, page: PageRequest, *values: Any) -> Page[BookingView]:
        """`query` has the position and from $2 on its `values`."""
        return _bookings(await _fetch(self._database, limited(query, page), id_after(page.after), *values), page)


class PostgresReviewQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_of_event(self, event_id: EventId, page: PageRequest) -> Page[ReviewView]:
        rows = await _fetch(self._database, limited(_REVIEWS_OF_EVENT, page), id_after(page.after), event_id)
        reviews = [
            ReviewView(
                id=ReviewId(row["id"]),
                rating=row["rating"],
                comment=row["comment"],
                user_id=UserId(row["user_id"]),
                user_name=row["user_name"],
                created_at=row["created_at"],
            )
            for row in rows[: page.limit]
        ]
        return Page(reviews, cursor_of(reviews[-1].id) if len(rows) > page.limit else None)


async def _fetch(database: Database, query: str, *values: Any) -> "Sequence[asyncpg.Record]":
    async with database.connection() as connection:
        rows: Sequence[asyncpg.Record] = await connection.fetch(query, *values)
        return rows


def _event(row: asyncpg.Record) -> EventView:
    return EventView(
        id=EventId(row["event_id"]),
        title=row["title"],
        description=row["description"],
        event_type=EventType(row["event_type"]),
        category=row["category"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        location=row["location"],
        virtual_link=row["virtual_link"],
        capacity=row["capacity"],
        booked=row["booked"],
        price=row["price"],
        currency=row["currency"],
        status=EventStatus(row["event_status"]),
        facilitator_id=UserId(row["facilitator_id"]),
        facilitator_uuid=row["facilitator_uuid"],
        facilitator_name=row["facilitator_name"],
        facilitator_email=row["facilitator_email"],
        rating=row["rating"],
        created_at=row["event_created_at"],
        facilitator_active=row["facilitator_active"],
        facilitator_timezone=row["facilitator_timezone"],
        viewer_has_seat=row["viewer_has_seat"],
    )


def _bookings(rows: "Sequence[asyncpg.Record]", page: PageRequest) -> Page[BookingView]:
    """`rows`: one more than the page has, if there is a next one."""
    bookings = [booking_view(row) for row in rows[: page.limit]]
    return Page(bookings, cursor_of(bookings[-1].id) if len(rows) > page.limit else None)


def booking_view(row: asyncpg.Record) -> BookingView:
    return BookingView(
        id=BookingId(row["id"]),
        reference=row["reference"],
        status=BookingStatus(row["status"]),
        payment_status=PaymentStatus(row["payment_status"]),
        payment_id=row["gateway_payment_id"],
        payment_reference=row["gateway_reference"],
        notes=row["notes"],
        created_at=row["created_at"],
        cancelled_at=row["cancelled_at"],
        user_id=UserId(row["user_id"]),
        user_name=row["user_name"],
        user_email=row["user_email"],
        user_phone=row["user_phone"],
        price=Money(row["agreed_price"], row["agreed_currency"]),
        event=_event(row),
        dispute=DisputeStatus(row["dispute"]) if row["dispute"] else None,
    )
