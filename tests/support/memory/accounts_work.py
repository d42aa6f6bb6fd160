"""Units of work over the accounts in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import cast

from application.idempotency import Made
from application.ports import Clock
from application.unit_of_work import UnitOfWork
from domain.accounts import User, UserId
from domain.outbox import ROUTES, MessageType
from tests.support.memory.accounts import (
    MemoryAccess,
    MemoryLoginNetworks,
    MemoryLogins,
    MemoryProfiles,
    MemoryUsers,
)
from tests.support.memory.claims import add_to_outbox
from tests.support.memory.idempotency import commit_under_key
from tests.support.memory.store import Store, Transaction


class AccountMessages:
    def __init__(self, transaction: Transaction, now: datetime) -> None:
        self._transaction = transaction
        self._now = now

    async def enqueue_facilitator_approved(self, user_id: UserId) -> None:
        user: User = self._transaction.tables.of("users")[user_id]
        for destination in ROUTES[MessageType.FACILITATOR_APPROVED]:
            add_to_outbox(
                self._transaction.store,
                self._transaction.tables,
                destination=destination,
                ordering_key=f"user:{user_id}",
                message_type=MessageType.FACILITATOR_APPROVED,
                payload={"person": {"name": user.name, "email": user.email}},
                now=self._now,
            )


class RecordedChanges:
    """The changes that a use case requests of events, bookings and appointments of an account: rows of
    `recorded_changes`, by the context and the account."""

    def __init__(self, transaction: Transaction, context: str) -> None:
        self._transaction = transaction
        self._context = context

    async def set_facilitator_active(self, user_id: UserId, *, active: bool) -> None:
        self._record(user_id, "activated" if active else "deactivated")

    async def end_holds(self, user_id: UserId, now: datetime) -> None:
        self._record(user_id, "holds ended")

    def _record(self, user_id: UserId, change: str) -> None:
        self._transaction.tables.of("recorded_changes")[self._context, user_id] = change


class AccountsWork:
    def __init__(self, transaction: Transaction, now: datetime) -> None:
        self._transaction = transaction
        self.users = MemoryUsers(transaction)
        self.logins = MemoryLogins(transaction)
        self.access = MemoryAccess(transaction)
        self.login_networks = MemoryLoginNetworks(transaction)
        self.profiles = MemoryProfiles(transaction)
        self.messages = AccountMessages(transaction, now)
        self.events = RecordedChanges(transaction, "events")
        self.bookings = RecordedChanges(transaction, "bookings")
        self.appointments = RecordedChanges(transaction, "appointments")

    async def commit(self, made: Made | None = None) -> None:
        commit_under_key(self._transaction.tables, made)
        self._transaction.commit()


class AccountUnitsOfWork:
    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self._clock = clock

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with self.store.transaction() as transaction:
            yield cast(UnitOfWork, AccountsWork(transaction, self._clock.now()))
