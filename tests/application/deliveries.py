"""Delivery of outbox messages in memory, to destinations that answer as a test says."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count

from application.outbox.delivery import DeliverMessages
from application.outbox.ports import OutboxClaims, Sender
from domain.outbox import (
    Delivered,
    Destination,
    Failed,
    Message,
    MessageId,
    MessageStatus,
    MessageType,
    Outcome,
    RetrySchedule,
)
from tests.support.memory.claims import (
    DestinationRow,
    MemoryCircuitBreakers,
    MemoryDeadLetters,
    MemoryOutboxClaims,
    OutboxRow,
    add_to_outbox,
)
from tests.support.memory.store import SettableClock, Store

CRM, EMAIL = Destination.CRM, Destination.EMAIL
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
DELAYS = (timedelta(0), 5 * SECOND, 5 * MINUTE)

Answer = Callable[[Message], Outcome]


class AnsweringSender:
    """Returns `outcome`, or raises it. `received` has the messages in order."""

    def __init__(self) -> None:
        self.outcome: Outcome | Exception = Delivered()
        self.received: list[Message] = []

    async def deliver(self, message: Message) -> Outcome:
        self.received.append(message)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def attempt_each(
    claims: OutboxClaims, destination: Destination, sender: Sender, *, only: MessageType | None = None
) -> Sequence[Outcome]:
    """Attempts each due message once; those that fail for a time are due again at once."""
    outcomes = []
    due = await claims.claim(destination, limit=100, lease=MINUTE, probe_every=MINUTE)
    for message in (each for each in due if only in {None, each.message_type}):
        outcomes.append(outcome := await sender.deliver(message))
        retry_in = timedelta(0) if isinstance(outcome, Failed) and not outcome.permanent else None
        await claims.record_result(message, outcome, took=timedelta(0), retry_in=retry_in)
    return outcomes


class Deliveries:
    """One worker, `due`, and what it is made of. The delays of the schedule do not vary."""

    def __init__(self) -> None:
        self.store = Store()
        self.clock = SettableClock()
        self.crm, self.email = AnsweringSender(), AnsweringSender()
        self.circuit_breakers = MemoryCircuitBreakers(self.store, self.clock)
        self.dead_letters = MemoryDeadLetters(self.store, self.clock)
        self.due = self.worker()
        self._numbers = count(1)

    def worker(self) -> DeliverMessages:
        return DeliverMessages(
            MemoryOutboxClaims(self.store, self.clock),
            self.circuit_breakers,
            {CRM: self.crm, EMAIL: self.email},
            RetrySchedule(DELAYS),
            random_fraction=lambda: 0.5,
        )

    def enqueue(self, number: int = 1, *, destination: Destination = CRM, key: str | None = None) -> None:
        """Each message has another ordering key, if none is given."""
        for _ in range(number):
            add_to_outbox(
                self.store,
                self.store.tables,
                destination=destination,
                ordering_key=key or f"booking:{next(self._numbers)}",
                message_type=MessageType.BOOKING_CREATED,
                payload={},
                now=self.clock.moment,
            )

    async def claim(self, destination: Destination = CRM, *, limit: int = 24) -> Sequence[Message]:
        return await self.due.claim(destination, limit)

    async def deliver(self, destination: Destination = CRM, *, limit: int = 24) -> Sequence[Message]:
        """Claims, attempts and records once; returns the messages."""
        messages = await self.claim(destination, limit=limit)
        for message in messages:
            await self.due.record(message, await self.due.attempt(message), SECOND)
        return messages

    def messages(self) -> list[OutboxRow]:
        return list(self.store.tables.of("outbox").values())

    def message(self) -> OutboxRow:
        (message,) = self.messages()
        return message

    def statuses(self) -> list[MessageStatus]:
        return [message.status for message in self.messages()]

    def state(self, destination: Destination = CRM) -> DestinationRow:
        row: DestinationRow = self.store.tables.of("destinations")[destination]
        return row

    async def has_dead(self, *, destination: Destination = CRM) -> MessageId:
        """A message that used up its attempts at this moment."""
        self.enqueue(destination=destination)
        row = self.messages()[-1]
        row.status, row.attempts, row.settled_at, row.last_error = MessageStatus.DEAD, 3, self.clock.moment, "busy"
        return row.id
