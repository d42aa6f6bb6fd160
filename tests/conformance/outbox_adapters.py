"""The outbox of the conformance suites, in memory and in PostgreSQL.

Leases and delays are zero where they have to be over: the clock of the database cannot be moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from application.notifications.ports import UnverifiedAddresses
from application.outbox.ports import (
    CircuitBreakers,
    DeadLetters,
    DeliveryStatistics,
    HeldMessages,
    OutboxClaims,
    StoredMessageDetail,
)
from application.unit_of_work import OpenUnitOfWork
from domain.outbox import (
    ALWAYS_SERVED,
    Destination,
    Failed,
    Message,
    Outcome,
    routes_for,
)
from infrastructure.postgres.accounts.unverified_addresses import PostgresUnverifiedAddresses
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
from infrastructure.postgres.outbox.held import PostgresHeldMessages
from infrastructure.postgres.outbox.statistics import PostgresDeliveryStatistics
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.machine_clock import SystemClock
from tests.support.memory.claims import MemoryCircuitBreakers, MemoryDeadLetters, MemoryOutboxClaims
from tests.support.memory.delivery_statistics import MemoryDeliveryStatistics
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork
from tests.support.memory.unverified_mail import MemoryHeldMessages, MemoryUnverifiedAddresses

EMAIL = Destination.EMAIL
NONE = timedelta(0)
LONG = timedelta(hours=1)
TOOK = timedelta(milliseconds=250)
FAULT = Failed("503", status_code=503, destination_fault=True)
_numbers = count(1)


@dataclass
class Outbox:
    """`claims` and `other` are those of two workers."""

    units: OpenUnitOfWork
    claims: OutboxClaims
    other: OutboxClaims
    breakers: CircuitBreakers
    dead_letters: DeadLetters
    statistics: DeliveryStatistics
    held: HeldMessages
    addresses: UnverifiedAddresses

    async def enqueue(self, *numbers: int) -> Sequence[str]:
        """Enqueues that many messages of another ordering key for each number; returns the keys."""
        keys = []
        for number in numbers:
            async with self.units() as work:
                email = f"user{next(_numbers)}@example.com"
                user = await work.users.add_without_password(email=email, name="Ada", now=SystemClock().now())
                for _ in range(number):
                    await work.messages.enqueue_facilitator_approved(user.id)
                await work.commit()
            keys.append(f"user:{user.id}")
        return keys

    async def claim(
        self, *, limit: int = 10, lease: timedelta = LONG, by_other: bool = False, probe_every: timedelta = LONG
    ) -> Sequence[Message]:
        worker = self.other if by_other else self.claims
        return await worker.claim(EMAIL, limit=limit, lease=lease, probe_every=probe_every)

    async def claimed(self, *, lease: timedelta = LONG, by_other: bool = False) -> Message:
        """The only message that can be claimed."""
        (message,) = await self.claim(lease=lease, by_other=by_other)
        return message

    async def record(self, message: Message, outcome: Outcome, *, retry_in: timedelta | None = None) -> bool:
        return await self.claims.record_result(message, outcome, took=TOOK, retry_in=retry_in)

    async def has_dead(self) -> Message:
        await self.enqueue(1)
        message = await self.claimed()
        await self.record(message, Failed("refused", permanent=True, status_code=400))
        return message

    async def show(self, message: Message) -> StoredMessageDetail:
        return await self.dead_letters.show(message.id)


def memory_outbox() -> Outbox:
    store, clock = Store(), SettableClock()
    return Outbox(
        MemoryUnitsOfWork(store, clock),
        MemoryOutboxClaims(store, clock),
        MemoryOutboxClaims(store, clock),
        MemoryCircuitBreakers(store, clock),
        MemoryDeadLetters(store, clock),
        MemoryDeliveryStatistics(store, clock),
        MemoryHeldMessages(store, clock),
        MemoryUnverifiedAddresses(store, clock),
    )


def postgres_outbox(database: Database) -> Outbox:
    return Outbox(
        UnitsOfWork(database, routes_for(ALWAYS_SERVED), SystemClock(), lambda: None),
        PostgresOutboxClaims(database),
        PostgresOutboxClaims(database),
        PostgresCircuitBreakers(database),
        PostgresDeadLetters(database),
        PostgresDeliveryStatistics(database),
        PostgresHeldMessages(database),
        PostgresUnverifiedAddresses(database),
    )
