"""The unit of work in memory: one transaction with a repository for each aggregate."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import cast

from application.idempotency import Made
from application.ports import Clock
from application.unit_of_work import UnitOfWork
from tests.support.memory.accounts import (
    MemoryAccess,
    MemoryLoginNetworks,
    MemoryLogins,
    MemoryProfiles,
    MemoryUsers,
)
from tests.support.memory.appointments import MemoryAppointments, MemoryAttachments
from tests.support.memory.bookings import MemoryBookings, MemoryInvitations
from tests.support.memory.calendars import MemoryConnections
from tests.support.memory.coaches import MemoryCoaches
from tests.support.memory.events import MemoryEvents, MemoryReviews
from tests.support.memory.idempotency import commit_under_key
from tests.support.memory.outbox import MemoryMessages
from tests.support.memory.payments import MemoryGatewayEvents, MemoryPayments, MemoryRefunds
from tests.support.memory.reminders import MemoryReminders
from tests.support.memory.store import Store, Transaction


class MemoryUnitOfWork:
    def __init__(
        self, transaction: Transaction, clock: Clock, offsets: Sequence[timedelta], results: list[Made | None]
    ) -> None:
        self._transaction = transaction
        self._results = results
        messages = MemoryMessages(transaction, clock)
        reminders = MemoryReminders(transaction, clock, offsets)
        bookings = MemoryBookings(transaction, messages, reminders)
        invitations = MemoryInvitations(transaction)
        refunds = MemoryRefunds(transaction, messages)
        self.users = MemoryUsers(transaction)
        self.logins = MemoryLogins(transaction)
        self.access = MemoryAccess(transaction)
        self.login_networks = MemoryLoginNetworks(transaction)
        self.profiles = MemoryProfiles(transaction)
        self.events = MemoryEvents(transaction, messages, reminders, bookings, invitations, refunds)
        self.bookings = bookings
        self.invitations = invitations
        self.reviews = MemoryReviews(transaction)
        self.payments = MemoryPayments(transaction)
        self.refunds = refunds
        self.gateway_events = MemoryGatewayEvents(transaction)
        self.coaches = MemoryCoaches(transaction)
        self.appointments = MemoryAppointments(transaction, messages, reminders)
        self.attachments = MemoryAttachments(transaction)
        self.reminders = reminders
        self.calendars = MemoryConnections(transaction, clock)
        self.messages = messages

    async def commit(self, made: Made | None = None) -> None:
        commit_under_key(self._transaction.tables, made)
        self._results.append(made)
        self._transaction.commit()


class MemoryUnitsOfWork:
    """Opens units of work. Each one is rolled back at its end unless it was committed. `results` has the result of each
    commit, which a repeated request with the same idempotency key returns."""

    def __init__(self, store: Store, clock: Clock, *, reminder_offsets: Sequence[timedelta] = ()) -> None:
        self.results: list[Made | None] = []
        self._store = store
        self._clock = clock
        self._offsets = reminder_offsets

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with self._store.transaction() as transaction:
            work = MemoryUnitOfWork(transaction, self._clock, self._offsets, self.results)
            yield cast(UnitOfWork, work)
