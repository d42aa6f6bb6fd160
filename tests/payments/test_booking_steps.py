"""The random steps of `tests/application/test_booking_steps.py`, on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from domain.accounts import User, UserId
from domain.events import EventId
from domain.ids import BookingId
from domain.invitations import InvitationId
from domain.outbox import ALWAYS_SERVED, Destination, Message, MessageId, MessageType, routes_for
from domain.payments import PaymentId
from domain.refunds import RefundId
from infrastructure.postgres.bookings.invitations import PostgresInvitationQueries
from infrastructure.postgres.bookings.seats import PostgresSeatInventory
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.queries import PostgresBookingQueries, PostgresEventQueries, PostgresReviewQueries
from infrastructure.postgres.payments.checkouts import PostgresCheckouts
from infrastructure.postgres.payments.queries import PostgresPaymentQueries
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.application.booking_application import BookingApplication
from tests.application.payment_steps import replay
from tests.application.test_booking_steps import KEPT, BookingSteps
from tests.support.databases import Databases
from tests.support.memory.rows import StoredPayment, StoredRefund
from tests.support.memory.store import SettableClock, Tables
from tests.support.process_harness import LONG_RUN

T = TypeVar("T")

_EARLIER = """WITH events AS (UPDATE events SET starts_at = starts_at - $1::interval, ends_at = ends_at - $1::interval),
    bookings AS (UPDATE bookings SET hold_until = hold_until - $1::interval),
    invitations AS (UPDATE invitations SET expires_at = expires_at - $1::interval)
UPDATE payments SET created_at = created_at - $1::interval, looked_up_at = looked_up_at - $1::interval"""


class PostgresBookingApplication(BookingApplication):
    """The time is the present one, as PostgreSQL's: where time passes, what is stored moves into the past."""

    def __init__(self, database: Database) -> None:
        self._database = database
        super().__init__(reminder_offsets=())

    def _choose_adapters(self, reminder_offsets: tuple[timedelta, ...]) -> None:
        self.clock = SettableClock(datetime.now(UTC))
        self.open_work = UnitsOfWork(self._database, routes_for(ALWAYS_SERVED), self.clock, lambda: None)
        self.events = PostgresEventQueries(self._database)
        self.bookings = PostgresBookingQueries(self._database)
        self.invitations = PostgresInvitationQueries(self._database)
        self.reviews = PostgresReviewQueries(self._database)
        self.payments = PostgresPaymentQueries(self._database)
        self.checkouts = PostgresCheckouts(self._database)
        self.seats = PostgresSeatInventory(self._database, gateway=self.gateway.name)

    async def _is_mailed_without_limit(self, user: User) -> None:
        async with self._database.connection() as connection:
            await connection.execute("UPDATE users SET mail_limited = false WHERE id = $1", user.id)

    async def time_passes(self, by: timedelta) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_EARLIER, by)

    async def refresh(self) -> None:
        tables, now = Tables(), self.clock.now()
        async with self._database.connection() as connection:
            ids = {
                table: [row["id"] for row in await connection.fetch(f"SELECT id FROM {table} ORDER BY id")]
                for table in ("users", "events", "bookings", "invitations", "payments", "refunds")
            }
        async with self.open_work() as work:
            for each in ids["users"]:
                tables.of("users")[each] = await work.users.get(UserId(each))
            for each in ids["events"]:
                tables.of("events")[each] = await work.events.get_including_deleted(EventId(each))
            for each in ids["bookings"]:
                tables.of("bookings")[each] = await work.bookings.get(BookingId(each))
            for each in ids["invitations"]:
                tables.of("invitations")[each] = await work.invitations.get(InvitationId(each))
            for each in ids["payments"]:
                tables.of("payments")[each] = StoredPayment(await work.payments.get(PaymentId(each)), now)
            for each in ids["refunds"]:
                tables.of("refunds")[each] = StoredRefund(
                    await work.refunds.get(RefundId(each)), self.clock.now(), None
                )
        self.store.tables = tables

    async def _payment_jobs(self) -> list[Message]:
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM outbox WHERE destination = 'payments' ORDER BY seq")
        return [
            Message(
                id=MessageId(row["id"]),
                destination=Destination.PAYMENTS,
                ordering_key=row["lane"],
                message_type=MessageType(row["fact"]),
                payload=row["snapshot"],
                attempt=1,
                occurred_at=row["occurred_at"],
                request_id=None,
            )
            for row in rows
        ]


@pytest.fixture
async def connected(shared_database_url: str, databases: Databases) -> AsyncIterator[type[BookingSteps]]:
    """Makes machines whose steps run in the event loop of this test, each on an empty database."""
    database, loop = Database(shared_database_url), asyncio.get_running_loop()

    class PostgresBookingSteps(BookingSteps):
        def __init__(self) -> None:
            super().__init__(PostgresBookingApplication(database))
            super().run(databases.empty(shared_database_url))

        def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    yield PostgresBookingSteps
    await database.close()


async def test_amounts_and_seats_are_right_after_any_steps_on_postgres(connected: type[BookingSteps]) -> None:
    examples = settings(
        max_examples=100 if LONG_RUN else 2,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
        phases=(Phase.generate,),  # shrinking a failure would take minutes
    )
    await asyncio.to_thread(run_state_machine_as_test, connected, settings=examples)


@pytest.mark.parametrize("kept", KEPT)
async def test_kept_steps_on_postgres(connected: type[BookingSteps], kept: Callable[[BookingSteps], None]) -> None:
    await asyncio.to_thread(replay, connected, kept)
