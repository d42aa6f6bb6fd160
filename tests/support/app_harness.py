"""The use cases that deal with money, put together around a gateway of the tests, with workers beside each other.

Time passes by moving what is written into the past: the clocks, ours and the database's, are real.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg

from application.bookings.reservation import NewBooking
from application.outbox.ports import WakeUps
from application.payments.settlement import Settled, SettlePayment
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import User, UserId
from domain.events import EventId
from domain.ids import AppointmentId, AppointmentRef, BookingRef, PayableRef
from domain.money import Money
from domain.outbox import Destination, RetrySchedule
from domain.payments import GatewayUpdate, PaymentId, PaymentUpdate
from domain.time import Interval
from domain.unpaid_holds import HoldLimits
from infrastructure import container
from infrastructure.container import Container, DeliveryParts, Substitutes, UseCases
from infrastructure.container.appointments import Appointment
from infrastructure.container.payments import Money as Payments
from infrastructure.postgres.bookings.seats import PostgresSeatInventory
from infrastructure.postgres.engine import Database
from infrastructure.postgres.payments.repository import column_of
from infrastructure.postgres.unit_of_work import UnitsOfWork
from infrastructure.settings import Settings
from tests.support.invariants import broken_invariants
from tests.support.load import many_users
from tests.support.local_gateway import LocalGateway, LocalGatewayClient, Webhook
from tests.support.messages import deliver_due
from tests.support.rows import stored_row

UNBOUNDED = HoldLimits(per_account=10_000, per_coach=10_000)

# One try at once, the next when the test says so.
SCHEDULE = RetrySchedule((timedelta(0), *[timedelta(hours=1)] * 20))


@dataclass(frozen=True, slots=True)
class Reserved:
    """The fields of a reserved seat, for an appointment."""

    id: AppointmentId
    payment_id: PaymentId | None
    price: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class NewSession:
    """A coach's time that was just booked."""

    reserved: Reserved
    payment_url: str | None
    session: Interval


Sold: TypeAlias = NewBooking | NewSession


def ref_of(new: Sold) -> PayableRef:
    if isinstance(new, NewBooking):
        return BookingRef(new.reserved.id)
    return AppointmentRef(new.reserved.id)


@dataclass(frozen=True, slots=True)
class Worker:
    """One API process and one worker process, composed as in production around the local gateway."""

    api: Container
    parts: DeliveryParts

    @property
    def use_cases(self) -> UseCases:
        return self.api.use_cases

    @property
    def open_work(self) -> OpenUnitOfWork:
        return self.api.open_work

    @property
    def database(self) -> Database:
        return self.api.database

    @property
    def appointment(self) -> Appointment:
        return self.api.appointment

    @property
    def money(self) -> Payments:
        return self.parts.money

    async def run(self) -> None:
        """Runs every payment job that is due."""
        await deliver_due(self.parts.deliver_due, Destination.PAYMENTS)

    async def close(self) -> None:
        await self.parts.close()
        await self.api.close()


@dataclass
class AppHarness:
    records: asyncpg.Connection
    local_gateway: LocalGateway
    workers: list[Worker]
    facilitator: User

    @property
    def worker(self) -> Worker:
        return self.workers[0]

    @property
    def settle(self) -> SettlePayment:
        return self.worker.money.settle_payment

    @property
    def wake_ups(self) -> WakeUps:
        return self.worker.api.wake_ups

    async def people(self, number: int) -> list[User]:
        members = await many_users(self.records, number)
        async with self.worker.open_work() as work:
            return [await work.users.get(UserId(member.id)) for member in members]

    async def person(self) -> User:
        return (await self.people(1))[0]

    async def event(
        self,
        *,
        capacity: int = 10,
        price: str = "30",
        currency: str = "INR",
        starts_in: timedelta = timedelta(days=7),
        policy: Sequence[tuple[int, int]] = ((0, 100),),
    ) -> EventId:
        event_id = await self.records.fetchval(
            """INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price,
                   currency, refund_policy)
               VALUES ($1, 'Morning Yoga', '', 'session', now() + $2, now() + $2 + interval '1 hour', $3, $4, $5, $6)
               RETURNING id""",
            self.facilitator.id,
            starts_in,
            capacity,
            Decimal(price),
            currency,
            str([list(tier) for tier in policy]),
        )
        return EventId(event_id)

    async def book(
        self, person: User, event_id: EventId, *, gateway: str = "till", limits: HoldLimits = UNBOUNDED
    ) -> NewBooking:
        book = replace(self.worker.use_cases.book_seat, hold_limits=limits)
        if gateway != book.gateway.name:
            seats = PostgresSeatInventory(self.worker.database, gateway=gateway)
            book = replace(book, gateway=self.worker.money.gateways.named(gateway), seats=seats)
        return await book(person, event_id, None)

    async def paid(self, person: User, event_id: EventId) -> NewBooking:
        """A booking whose payment has come."""
        new = await self.book(person, event_id)
        assert await self.settle("till", self.received(new)) is Settled.RECEIVED
        return new

    def received(self, new: Sold) -> GatewayUpdate:
        """The user pays; returns the gateway's update."""
        self.local_gateway.pay(order_of(new))
        return self.update(new, PaymentUpdate.RECEIVED)

    def update(self, new: Sold, report: PaymentUpdate, **changes: Any) -> GatewayUpdate:
        order_id = order_of(new)
        price = Money(new.reserved.price, new.reserved.currency)
        received = report is PaymentUpdate.RECEIVED
        said = GatewayUpdate(
            order_id,
            report,
            new.reserved.payment_id,
            gateway_id=f"pay_{order_id}" if received else None,
            amount=price if received else None,
        )
        return replace(said, **changes)

    async def take(self, webhook: Webhook) -> None:
        await self.worker.money.receive_webhook("till", *webhook)

    async def cancel(self, person: User, new: NewBooking) -> Any:
        return await self.worker.use_cases.cancel_booking(person, new.reserved.id)

    async def cancel_participant(self, by: User, new: NewBooking) -> Any:
        return await self.worker.use_cases.cancel_participant(by, new.reserved.id)

    async def cancel_event(self, event_id: EventId) -> Any:
        return await self.worker.use_cases.cancel_event(self.facilitator, event_id)

    async def delete_event(self, event_id: EventId) -> None:
        await self.worker.use_cases.delete_event(self.facilitator, event_id)

    async def minutes_pass(self, minutes: float) -> None:
        """For everything but events and sessions, which stay as far ahead."""
        ago = timedelta(minutes=minutes)
        for table in ("bookings", "coaching_bookings"):
            await self.records.execute(f"UPDATE {table} SET hold_until = hold_until - $1::interval", ago)
        await self.records.execute(
            "UPDATE payments SET created_at = created_at - $1::interval, looked_up_at = looked_up_at - $1::interval",
            ago,
        )
        await self.records.execute("UPDATE outbox SET due_at = due_at - $1::interval WHERE status = 'pending'", ago)

    async def event_started(self, event_id: EventId, ago: timedelta) -> None:
        """The event began that long ago; what was held for it ended then."""
        await self.records.execute(
            "UPDATE events SET starts_at = now() - $2::interval, ends_at = now() - $2::interval + interval '1 hour' "
            "WHERE id = $1",
            event_id,
            ago,
        )
        await self.records.execute(
            "UPDATE bookings SET hold_until = now() - $1::interval WHERE hold_until > now()", ago
        )

    async def expired(self, person: User, event_id: EventId) -> NewBooking:
        """A booking whose hold has expired; its checkout is still open."""
        new = await self.book(person, event_id)
        await self.minutes_pass(31)
        assert await self.worker.money.expire_holds() == 1
        return new

    async def booking(self, new: Sold) -> tuple[str, str]:
        """Its status and its payment's."""
        table = "bookings" if isinstance(new, NewBooking) else "coaching_bookings"
        row = await stored_row(self.records, f"SELECT * FROM {table} WHERE id = $1", new.reserved.id)
        return row["status"], row["payment_status"]

    async def payment(self, new: Sold) -> asyncpg.Record:
        return await stored_row(self.records, "SELECT * FROM payments WHERE id = $1", new.reserved.payment_id)

    async def refunds(self, new: Sold) -> list[tuple[Decimal, str, str]]:
        """Amount, status and reason of each."""
        rows = await self.records.fetch(
            f"""SELECT r.* FROM refunds r JOIN payments p ON p.id = r.payment_id
                WHERE p.{column_of(ref_of(new))} = $1 ORDER BY r.requested_at""",
            new.reserved.id,
        )
        return [(row["amount"], row["status"], row["reason"]) for row in rows]

    async def messages(self, new: Sold, destination: str = "crm", to: str = "") -> list[tuple[str, str | None]]:
        """Messages of the booking for a destination: message types in order, with their reasons. `to`: `client` or
        `coach` of an appointment."""
        kind = "booking" if isinstance(new, NewBooking) else "coaching"
        rows = await self.records.fetch(
            """SELECT fact, snapshot::jsonb ->> 'reason' AS reason FROM outbox
               WHERE lane = $1 AND destination = $2 ORDER BY seq""",
            f"{kind}:{new.reserved.id}:{to}".removesuffix(":"),
            destination,
        )
        return [(row["fact"], row["reason"]) for row in rows]

    async def mismatches(self) -> list[str]:
        return [row["why"] for row in await self.records.fetch("SELECT why FROM payment_differences ORDER BY id")]

    async def jobs(self) -> list[tuple[str, str]]:
        """Fact and status of each."""
        rows = await self.records.fetch("SELECT fact, status FROM outbox WHERE destination = 'payments' ORDER BY seq")
        return [(row["fact"], row["status"]) for row in rows]

    async def until_dry(self) -> None:
        """Runs all workers, and retries failed jobs, until no payment job is pending."""
        for _ in range(20):
            await asyncio.gather(*(worker.run() for worker in self.workers))
            open_ones = await self.records.fetchval(
                "SELECT count(*) FROM outbox WHERE destination = 'payments' AND status = 'pending'"
            )
            if not open_ones:
                return
            await self.records.execute("UPDATE outbox SET due_at = now() WHERE status = 'pending'")
        raise AssertionError("the worker does not run dry")

    async def books(self, currency: str) -> int:
        """Received and not refunded at the local gateway by our records, in minor units."""
        kept = await self.records.fetchval(
            """SELECT coalesce(sum(p.amount), 0) - coalesce((
                   SELECT sum(r.amount) FROM refunds r JOIN payments q ON q.id = r.payment_id
                   WHERE r.status = 'processed' AND q.gateway = 'till' AND q.currency = $1), 0)
               FROM payments p WHERE p.received_at IS NOT NULL AND p.gateway = 'till' AND p.currency = $1""",
            currency,
        )
        return Money(kept, currency).minor_units

    async def wrongs(self) -> list[str]:
        """What must never be, after the workers have run dry."""
        rows = await self.records.fetch(
            """SELECT 'session ' || id || ' is pending and ' || payment_status
               FROM coaching_bookings WHERE status = 'pending' AND payment_status IN ('completed', 'refunded')
               UNION ALL
               SELECT 'payment ' || p.id || ' was received for nothing'
               FROM payments p LEFT JOIN bookings b ON b.id = p.booking_id
                    LEFT JOIN coaching_bookings c ON c.id = p.coaching_booking_id
               WHERE p.received_at IS NOT NULL AND p.refunded = 0 AND coalesce(b.status, c.status) = 'cancelled'
               UNION ALL
               SELECT 'what payment ' || p.id || ' (' || p.status || ') was received for is unpaid'
               FROM payments p LEFT JOIN bookings b ON b.id = p.booking_id
                    LEFT JOIN coaching_bookings c ON c.id = p.coaching_booking_id
               WHERE p.received_at IS NOT NULL
                 AND coalesce(b.payment_status, c.payment_status) IN ('pending', 'failed')"""
        )
        wrongs = [*await broken_invariants(self.records), *(row[0] for row in rows)]
        for currency in {order.currency for order in self.local_gateway.orders.values()}:
            books, kept = await self.books(currency), self.local_gateway.kept(currency)
            if books != kept:
                wrongs.append(f"our books have {books} {currency}, the till {kept}")
        return wrongs


def order_of(new: Sold) -> str:
    return f"till_{new.reserved.payment_id}"


@asynccontextmanager
async def open_app_harness(
    settings: Settings,
    records: asyncpg.Connection,
    local_gateway: LocalGateway,
    gateway: LocalGatewayClient,
    *,
    workers: int = 1,
    units: type[UnitsOfWork] = UnitsOfWork,
) -> AsyncIterator[AppHarness]:
    async with running_workers(settings, gateway, workers, units=units) as staff:
        yield await app_harness_of(staff, records, local_gateway)


@asynccontextmanager
async def running_workers(
    settings: Settings, gateway: LocalGatewayClient, number: int, *, units: type[UnitsOfWork] = UnitsOfWork
) -> AsyncIterator[list[Worker]]:
    substitutes = Substitutes(gateway=gateway, units_of_work=units)
    staff = [_worker(settings, substitutes) for _ in range(number)]
    try:
        yield staff
    finally:
        for worker in staff:
            await worker.close()


async def app_harness_of(staff: list[Worker], records: asyncpg.Connection, local_gateway: LocalGateway) -> AppHarness:
    """With a new facilitator."""
    (member,) = await many_users(records, 1, role="facilitator")
    async with staff[0].open_work() as work:
        facilitator = await work.users.get(UserId(member.id))
    return AppHarness(records, local_gateway, staff, facilitator)


def _worker(settings: Settings, substitutes: Substitutes) -> Worker:
    parts = container.build_deliveries(settings, substitutes)
    deliver_due = replace(
        parts.deliver_due, senders={Destination.PAYMENTS: parts.money.jobs}, schedule=SCHEDULE, at_once=4
    )
    return Worker(container.build(settings, substitutes), replace(parts, deliver_due=deliver_due))
