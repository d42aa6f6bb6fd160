"""Queries in memory, about committed rows: those that use cases of events, bookings and payments need."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from application.bookings.ports import BookingFilter, BookingView, Dashboard, ShownInvitation
from application.events.ports import EventFilter, EventView, ReviewView
from application.ports import Clock, Page, PageRequest
from domain.accounts import UserId
from domain.bookings import Booking, BookingNotFound, BookingStatus, shows_join_link
from domain.errors import Invalid
from domain.events import EventId, EventNotFound, EventStatus
from domain.ids import BookingId, BookingRef, PayableRef
from domain.invitations import Invitation, InvitationId, InvitationNotFound, InvitationStatus
from domain.payments import OFFLINE, UNPAID, PaymentId, PaymentStatus
from domain.refunds import RefundPolicy
from infrastructure.postgres.pages import cursor_of, id_after, moment_and_id_after, uuid_after
from tests.support.memory.accounts import ProfileRow
from tests.support.memory.payments import save_payment
from tests.support.memory.rows import (
    StoredPayment,
    booking_in,
    bookings_in,
    bookings_of,
    event_in,
    events_in,
    payments_in,
    payments_of,
    user_in,
)
from tests.support.memory.store import Store, Tables


def event_view(tables: Tables, event_id: EventId, viewer: UserId | None = None) -> EventView:
    event = event_in(tables, event_id)
    details, facilitator = event.details, user_in(tables, event.facilitator_id)
    profile = tables.of("facilitator_profiles").get(event.facilitator_id) or ProfileRow(None, None)
    return EventView(
        id=event.id,
        title=details.title,
        description=details.description,
        event_type=details.event_type,
        category=details.category,
        starts_at=details.interval.starts_at,
        ends_at=details.interval.ends_at,
        location=details.location,
        virtual_link=details.virtual_link,
        capacity=details.capacity,
        booked=event.booked,
        price=details.price.amount,
        currency=details.price.currency,
        status=event.status,
        facilitator_id=facilitator.id,
        facilitator_uuid=facilitator.uuid,
        facilitator_name=facilitator.name,
        facilitator_email=facilitator.email,
        rating=profile.rating_sum / profile.rating_count if profile.rating_count else None,
        created_at=event.created_at,
        facilitator_active=facilitator.is_active,
        facilitator_timezone=facilitator.timezone,
        viewer_has_seat=any(
            booking.user_id == viewer and shows_join_link(booking.status, booking.payment_status)
            for booking in bookings_of(tables, event_id)
        ),
    )


class MemoryEventQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, event_id: EventId, *, viewer: UserId | None = None) -> EventView:
        event = self._store.tables.of("events").get(event_id)
        if event is None or event.deleted_at is not None:
            raise EventNotFound
        return event_view(self._store.tables, event_id, viewer)

    async def list(
        self, filters: EventFilter, page: PageRequest, now: datetime, *, viewer: UserId | None = None
    ) -> Page[EventView]:
        tables, words = self._store.tables, None if filters.text is None else _words(filters.text)
        if words is not None and not words:
            raise Invalid({"q": "Must contain a letter or a digit"})
        starts_at, number = moment_and_id_after(page.after)
        events = [
            view
            for view in sorted(self._views(viewer), key=_by_start)
            if view.facilitator_active
            and _matches(tables, view, filters, now)
            and (words is None or all(_has_word(view, word) for word in words))
            and (starts_at is None or number is None or _by_start(view) > (starts_at, number))
        ]
        return self._page(events, page)

    async def refund_policy(self, event_id: EventId) -> RefundPolicy:
        await self.get(event_id)
        return event_in(self._store.tables, event_id).details.refund_policy

    async def list_of_facilitator(self, facilitator_id: UserId, page: PageRequest) -> Page[EventView]:
        starts_at, number = moment_and_id_after(page.after)
        events = [
            view
            for view in sorted(self._views(facilitator_id), key=_by_start, reverse=True)
            if view.facilitator_id == facilitator_id
            and (starts_at is None or number is None or _by_start(view) < (starts_at, number))
        ]
        return self._page(events, page)

    def _views(self, viewer: UserId | None) -> Sequence[EventView]:
        tables = self._store.tables
        return [event_view(tables, event.id, viewer) for event in events_in(tables) if event.deleted_at is None]

    @staticmethod
    def _page(events: Sequence[EventView], page: PageRequest) -> Page[EventView]:
        shown = events[: page.limit]
        has_more = len(events) > len(shown)
        return Page(shown, cursor_of(shown[-1].starts_at, shown[-1].id) if has_more else None)


def _by_start(view: EventView) -> tuple[datetime, EventId]:
    return view.starts_at, view.id


def _matches(tables: Tables, view: EventView, filters: EventFilter, now: datetime) -> bool:
    is_active = view.status is EventStatus.ACTIVE
    profile = tables.of("facilitator_profiles").get(view.facilitator_id) or ProfileRow(None, None)
    kinds = {view.event_type.lower(), (view.category or "").lower()}
    return (
        (filters.kind is None or filters.kind.lower() in kinds)
        and filters.facilitator_id in {None, view.facilitator_id}
        and (filters.starts_from is None or view.starts_at >= filters.starts_from)
        and (filters.starts_before is None or view.starts_at < filters.starts_before)
        and (filters.online is None or bool(view.virtual_link if filters.online else view.location))
        and (filters.highest_price is None or view.price <= filters.highest_price)
        and ((is_active and view.ends_at > now) if filters.active is None else is_active is filters.active)
        and (
            filters.least_rating is None
            or (profile.rating_count > 0 and profile.rating_sum >= filters.least_rating * profile.rating_count)
        )
    )


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _has_word(view: EventView, sought: str) -> bool:
    """A single character must equal a word, others begin one."""
    text = f"{view.title} {view.description} {view.category or ''} {view.facilitator_name}"
    return any(word.startswith(sought) if len(sought) > 1 else word == sought for word in _words(text))


class MemoryFacilitatorQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def has_profile(self, user_id: UserId) -> bool:
        return user_id in self._store.tables.of("facilitator_profiles")

    async def dashboard(self, facilitator_id: UserId, now: datetime, *, recent: int) -> Dashboard:
        tables = self._store.tables
        events = {event.id: event for event in events_in(tables) if event.facilitator_id == facilitator_id}
        shown = [event for event in events.values() if event.deleted_at is None]
        active = [event for event in shown if event.status is EventStatus.ACTIVE]
        bookings = [booking for booking in bookings_in(tables) if booking.event_id in events]
        received: dict[str, list[Decimal]] = {}
        for booking in bookings:
            for row in payments_of(tables, BookingRef(booking.id)):
                if row.payment.status in {PaymentStatus.COMPLETED, PaymentStatus.REFUNDED}:
                    amount = row.payment.price.amount - row.payment.returned
                    received.setdefault(row.payment.price.currency, []).append(amount)
        by_number = sorted(received.items(), key=lambda each: (-len(each[1]), each[0]))
        return Dashboard(
            total_sessions=len(shown),
            active_sessions=len(active),
            upcoming_sessions=len([event for event in active if event.details.interval.starts_at > now]),
            total_bookings=len([each for each in bookings if each.status is not BookingStatus.CANCELLED]),
            revenue={currency: sum(amounts, Decimal(0)) for currency, amounts in by_number},
            recent=(
                await MemoryBookingQueries(self._store).list_of_facilitator(facilitator_id, PageRequest(recent))
            ).items,
        )


class MemoryBookingQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, booking_id: BookingId) -> BookingView:
        if booking_id not in self._store.tables.of("bookings"):
            raise BookingNotFound
        return self._view(booking_in(self._store.tables, booking_id))

    async def list_of_user(self, user_id: UserId, filters: BookingFilter, page: PageRequest) -> Page[BookingView]:
        own = [booking for booking in bookings_in(self._store.tables) if booking.user_id == user_id]
        return self._page(
            [
                booking
                for booking in own
                if filters.status in {None, booking.status} and filters.payment_status in {None, booking.payment_status}
            ],
            page,
        )

    async def of_event(self, event_id: EventId, page: PageRequest) -> tuple[EventView, Page[BookingView]]:
        tables = self._store.tables
        if event_id not in tables.of("events") or event_in(tables, event_id).deleted_at is not None:
            raise EventNotFound
        return event_view(tables, event_id), self._page(bookings_of(tables, event_id), page)

    async def list_of_facilitator(self, facilitator_id: UserId, page: PageRequest) -> Page[BookingView]:
        tables = self._store.tables
        return self._page(
            [each for each in bookings_in(tables) if event_in(tables, each.event_id).facilitator_id == facilitator_id],
            page,
        )

    def _page(self, bookings: Sequence[Booking], page: PageRequest) -> Page[BookingView]:
        before = id_after(page.after)
        newest = [each for each in reversed(bookings) if before is None or each.id < before]
        shown = newest[: page.limit]
        return Page([self._view(each) for each in shown], cursor_of(shown[-1].id) if len(newest) > len(shown) else None)

    def _view(self, booking: Booking) -> BookingView:
        tables = self._store.tables
        user, payments = user_in(tables, booking.user_id), payments_of(tables, BookingRef(booking.id))
        return BookingView(
            id=booking.id,
            reference=booking.reference,
            status=booking.status,
            payment_status=booking.payment_status,
            payment_id=payments[-1].payment.gateway_id if payments else None,
            payment_reference=payments[-1].payment.order_id if payments else None,
            notes=booking.notes,
            created_at=booking.created_at,
            cancelled_at=booking.cancelled_at,
            user_id=user.id,
            user_name=user.name,
            user_email=user.email,
            user_phone=user.phone,
            price=booking.price,
            event=event_view(tables, booking.event_id),
            dispute=booking.dispute,
        )


class MemoryReviewQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_of_event(self, event_id: EventId, page: PageRequest) -> Page[ReviewView]:
        tables, before = self._store.tables, id_after(page.after)
        newest = [
            ReviewView(
                number, each.rating, each.comment, each.user_id, user_in(tables, each.user_id).name, each.created_at
            )
            for number, each in reversed(tables.of("reviews").items())
            if each.event_id == event_id and (before is None or number < before)
        ]
        shown = newest[: page.limit]
        return Page(shown, cursor_of(shown[-1].id) if len(newest) > len(shown) else None)


class MemoryInvitationQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def show(self, invitation_id: InvitationId, now: datetime) -> ShownInvitation:
        tables = self._store.tables
        invitation: Invitation | None = tables.of("invitations").get(invitation_id)
        if invitation is None:
            raise InvitationNotFound
        event = event_in(tables, invitation.event_id)
        facilitator, interval = user_in(tables, event.facilitator_id), event.details.interval
        return ShownInvitation(
            invitation=invitation,
            is_open=(
                invitation.status is InvitationStatus.PENDING
                and min(invitation.expires_at, interval.starts_at) > now
                and event.status is EventStatus.ACTIVE
                and facilitator.is_active
            ),
            title=event.details.title,
            starts_at=interval.starts_at,
            ends_at=interval.ends_at,
            location=event.details.location,
            facilitator_name=facilitator.name,
        )

    async def list_of_event(self, event_id: EventId, page: PageRequest) -> Page[Invitation]:
        before = uuid_after(page.after)
        newest = [
            each
            for each in reversed(self._store.tables.of("invitations").values())
            if each.event_id == event_id and (before is None or each.id < before)
        ]
        shown = newest[: page.limit]
        return Page(shown, cursor_of(shown[-1].id) if len(newest) > len(shown) else None)


class MemoryCheckouts:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def save(self, payment_id: PaymentId, order_id: str, url: str) -> None:
        async with self._store.transaction() as transaction:
            row = transaction.tables.of("payments").get(payment_id)
            if row is not None:
                payment = replace(row.payment, order_id=order_id)
                save_payment(transaction, replace(row, payment=payment, checkout_url=url))
            transaction.commit()

    async def save_return_url(self, payables: Sequence[PayableRef], return_url: str) -> None:
        async with self._store.transaction() as transaction:
            for payable in payables:
                for row in payments_of(transaction.tables, payable):
                    save_payment(transaction, replace(row, return_url=return_url))
            transaction.commit()

    async def claim_to_look_up(
        self, *, older_than: timedelta, limit: int, apart_from: Collection[str]
    ) -> Sequence[PaymentId]:
        now = self._clock.now()

        def is_due(row: StoredPayment) -> bool:
            pause = min(older_than * 2 ** min(row.look_ups, 10), timedelta(hours=1))
            return (
                row.payment.status in UNPAID
                and row.payment.gateway not in {OFFLINE, *apart_from}
                and now - timedelta(days=3) < row.created_at < now - older_than
                and (row.looked_up_at is None or row.looked_up_at < now - pause)
            )

        async with self._store.transaction() as transaction:
            due = [row for row in payments_in(transaction.tables) if is_due(row)]
            due.sort(key=lambda row: (row.looked_up_at is not None, row.looked_up_at or now))
            for row in due[:limit]:
                save_payment(transaction, replace(row, looked_up_at=now, look_ups=row.look_ups + 1))
            transaction.commit()
        return [row.payment.id for row in due[:limit]]
