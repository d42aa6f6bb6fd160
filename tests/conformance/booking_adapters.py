"""The adapters of events, bookings and payments, and what their suites need often. Only ports are used."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from application.bookings.ports import BookingQueries, InvitationQueries, ReservedBooking, SeatInventory
from application.events.ports import EventQueries, ReviewQueries
from application.outbox.ports import DeadLetters, MessageFilter
from application.payments.ports.reconciliation import PaymentAudit
from application.payments.ports.records import Checkouts, PaymentQueries
from application.ports import Page, PageRequest
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from domain.accounts import Role, User
from domain.bookings import Booking
from domain.events import Event, EventDetails
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.outbox import ALWAYS_SERVED, Destination, MessageType, routes_for
from domain.payments import Payment
from domain.time import Interval
from infrastructure.postgres.bookings.invitations import PostgresInvitationQueries
from infrastructure.postgres.bookings.seats import PostgresSeatInventory, reserve_statement
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.queries import (
    PostgresBookingQueries,
    PostgresEventQueries,
    PostgresReviewQueries,
)
from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
from infrastructure.postgres.payments.audit import PostgresPaymentAudit
from infrastructure.postgres.payments.checkouts import PostgresCheckouts
from infrastructure.postgres.payments.queries import PostgresPaymentQueries
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.memory.audit import MemoryPaymentAudit
from tests.support.memory.bookings import MemorySeatInventory
from tests.support.memory.claims import MemoryDeadLetters
from tests.support.memory.payment_queries import MemoryPaymentQueries
from tests.support.memory.queries import (
    MemoryBookingQueries,
    MemoryCheckouts,
    MemoryEventQueries,
    MemoryInvitationQueries,
    MemoryReviewQueries,
)
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

GATEWAY = "gateway"
# PostgreSQL compares some times with its own clock, so the clock of the suites has the present time.
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOLD = timedelta(hours=2)
ALL = PageRequest()
_numbers = count(1)


@dataclass
class BookingAdapters:
    open_work: OpenUnitOfWork
    seats: SeatInventory
    events: EventQueries
    bookings: BookingQueries
    reviews: ReviewQueries
    invitations: InvitationQueries
    payments: PaymentQueries
    checkouts: Checkouts
    stored_messages: DeadLetters
    audit: PaymentAudit

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[UnitOfWork]:
        async with self.open_work() as work:
            yield work
            await work.commit()

    async def person(self, role: Role = Role.USER) -> User:
        number = next(_numbers)
        async with self.changing() as work:
            return await work.users.add(
                email=f"suite{number}@example.com", name=f"Person {number}", role=role, password_hash="hash", now=NOW
            )

    async def event(self, **changes: Any) -> Event:
        facilitator = changes.pop("facilitator", None) or await self.person(Role.FACILITATOR)
        async with self.changing() as work:
            return await work.events.add(facilitator.id, details(**changes), NOW)

    async def reserve(
        self,
        event: Event,
        user: User | None = None,
        *,
        now: datetime = NOW,
        hold_for: timedelta | None = HOLD,
        unpaid_at_most: int | None = None,
    ) -> ReservedBooking | None:
        user = user or await self.person()
        return await self.seats.reserve(
            event_id=event.id,
            user_id=user.id,
            notes="A note",
            now=now,
            hold_for=hold_for,
            request_id=None,
            unpaid_at_most=unpaid_at_most,
        )

    async def booked(self, event: Event | None = None, user: User | None = None, **more: Any) -> ReservedBooking:
        reserved = await self.reserve(event or await self.event(), user, **more)
        assert reserved is not None
        return reserved

    async def paid(self, event: Event | None = None) -> BookingId:
        """A booking with a received payment."""
        reserved = await self.booked(event)
        async with self.changing() as work:
            payment = await work.payments.get_for(BookingRef(reserved.id))
            received = payment.received(order_id=f"order {payment.id}", gateway_id=f"pay {payment.id}")
            await work.payments.save(received, received_at=NOW)
            await work.bookings.save((await work.bookings.get(reserved.id)).paid(payment.price))
        return reserved.id

    async def stored_event(self, event: Event) -> Event:
        async with self.open_work() as work:
            return await work.events.get_including_deleted(event.id)

    async def booking(self, booking_id: BookingId) -> Booking:
        async with self.open_work() as work:
            return await work.bookings.get(booking_id)

    async def payment(self, booking_id: BookingId) -> Payment:
        async with self.open_work() as work:
            return await work.payments.get_for(BookingRef(booking_id))

    async def messages(self, ordering_key: str) -> list[tuple[str, str]]:
        """Type and destination of each message with this ordering key, oldest first."""
        page: Page[Any] = await self.stored_messages.list(MessageFilter(), PageRequest(limit=100_000))
        own = [each for each in reversed(page.items) if each.ordering_key == ordering_key]
        return [(each.message_type, each.destination) for each in own]

    async def message_types(self, ordering_key: str) -> list[str]:
        """The type of each message, once for all of its destinations."""
        return list(dict.fromkeys(message_type for message_type, _ in await self.messages(ordering_key)))


def in_memory(
    store: Store | None = None,
    clock: SettableClock | None = None,
    *,
    reminder_offsets: Sequence[timedelta] = (),
    change_mail_window: timedelta = timedelta(0),
) -> BookingAdapters:
    store, clock = store or Store(), clock or SettableClock(NOW)
    return BookingAdapters(
        MemoryUnitsOfWork(store, clock, reminder_offsets=reminder_offsets, change_mail_window=change_mail_window),
        MemorySeatInventory(store, clock, gateway=GATEWAY, reminder_offsets=reminder_offsets),
        MemoryEventQueries(store),
        MemoryBookingQueries(store),
        MemoryReviewQueries(store),
        MemoryInvitationQueries(store),
        MemoryPaymentQueries(store, clock),
        MemoryCheckouts(store, clock),
        MemoryDeadLetters(store, clock),
        MemoryPaymentAudit(store, clock),
    )


def in_postgres(
    database: Database,
    clock: SettableClock | None = None,
    *,
    reminder_offsets: Sequence[timedelta] = (),
    change_mail_window: timedelta = timedelta(0),
) -> BookingAdapters:
    clock, routes = clock or SettableClock(NOW), routes_for(ALWAYS_SERVED)
    reserve = reserve_statement(routes[MessageType.BOOKING_CREATED], reminder_offsets)
    return BookingAdapters(
        UnitsOfWork(
            database,
            routes,
            clock,
            lambda: None,
            reminder_offsets=reminder_offsets,
            change_mail_window=change_mail_window,
        ),
        PostgresSeatInventory(database, gateway=GATEWAY, reserve=reserve),
        PostgresEventQueries(database),
        PostgresBookingQueries(database),
        PostgresReviewQueries(database),
        PostgresInvitationQueries(database),
        PostgresPaymentQueries(database),
        PostgresCheckouts(database),
        PostgresDeadLetters(database),
        PostgresPaymentAudit(database),
    )


def details(**changes: Any) -> EventDetails:
    starts_at = NOW + changes.pop("starts_in", 7 * DAY)
    usual: dict[str, Any] = {
        "title": "Yoga",
        "interval": Interval(starts_at, starts_at + HOUR),
        "capacity": 10,
        "price": inr(100),
    }
    return EventDetails(**usual | changes)


def inr(amount: int | str) -> Money:
    return Money(Decimal(amount), "INR")


def to(message_type: MessageType, *destinations: Destination) -> list[tuple[str, str]]:
    return [(message_type, destination) for destination in destinations]


SUBSCRIBERS = (Destination.CRM, Destination.EMAIL, Destination.REALTIME)
