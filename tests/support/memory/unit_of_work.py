"""The unit of work in memory: one transaction with a repository for each aggregate."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

from application.audit.ports import new_trails
from application.idempotency import Made
from application.ports import Clock
from application.unit_of_work import UnitOfWork
from tests.support.memory.account_tokens import MemoryAccountTokens
from tests.support.memory.accounts import (
    MemoryAccess,
    MemoryLoginNetworks,
    MemoryLogins,
    MemoryProfiles,
    MemoryUsers,
)
from tests.support.memory.api_keys import MemoryApiKeys
from tests.support.memory.appointments import MemoryAppointments, MemoryAttachments
from tests.support.memory.audit_log import AUDIT_KEY, write_entries
from tests.support.memory.bookings import MemoryBookings, MemoryInvitations
from tests.support.memory.calendars import MemoryConnections
from tests.support.memory.change_mails import MemoryChangeMails
from tests.support.memory.coaches import MemoryCoaches
from tests.support.memory.erasure import MemoryErasures
from tests.support.memory.events import MemoryEvents, MemoryReviews
from tests.support.memory.idempotency import commit_under_key
from tests.support.memory.outbox import MemoryMessages
from tests.support.memory.payments import (
    MemoryDisputes,
    MemoryGatewayEvents,
    MemoryPayments,
    MemoryRefunds,
)
from tests.support.memory.reminders import MemoryReminders
from tests.support.memory.second_factors import MemoryLoginTickets, MemorySecondFactors
from tests.support.memory.store import Store, Transaction


class MemoryUnitOfWork:
    """A repository is made when it is first used: most units of work need few."""

    def __init__(
        self,
        transaction: Transaction,
        clock: Clock,
        offsets: Sequence[timedelta],
        change_mail_window: timedelta,
        results: list[Made | None],
    ) -> None:
        self.transaction = transaction
        self.clock = clock
        self.offsets = offsets
        self.change_mail_window = change_mail_window
        self._results = results

    def __getattr__(self, name: str) -> Any:
        if name not in _REPOSITORIES:
            raise AttributeError(name)
        self.__dict__[name] = _REPOSITORIES[name](self)
        return self.__dict__[name]

    async def commit(self, made: Made | None = None) -> None:
        write_entries(self.transaction, self.clock, self.audit)
        commit_under_key(self.transaction.tables, made)
        self._results.append(made)
        self.transaction.commit()


_REPOSITORIES: dict[str, Callable[[MemoryUnitOfWork], object]] = {
    "audit": lambda _: new_trails(AUDIT_KEY)(),
    "messages": lambda work: MemoryMessages(work.transaction, work.clock),
    "reminders": lambda work: MemoryReminders(work.transaction, work.clock, work.offsets),
    "change_mails": lambda work: MemoryChangeMails(
        work.transaction, work.messages, work.clock, work.change_mail_window
    ),
    "users": lambda work: MemoryUsers(work.transaction, work.messages, work.audit),
    "logins": lambda work: MemoryLogins(work.transaction, work.audit),
    "access": lambda work: MemoryAccess(work.transaction, work.audit),
    "account_tokens": lambda work: MemoryAccountTokens(work.transaction),
    "api_keys": lambda work: MemoryApiKeys(work.transaction, work.audit),
    "second_factors": lambda work: MemorySecondFactors(work.transaction, work.audit),
    "login_tickets": lambda work: MemoryLoginTickets(work.transaction),
    "login_networks": lambda work: MemoryLoginNetworks(work.transaction),
    "erasures": lambda work: MemoryErasures(work.transaction, work.audit),
    "profiles": lambda work: MemoryProfiles(work.transaction),
    "events": lambda work: MemoryEvents(
        work.transaction,
        work.messages,
        work.reminders,
        work.bookings,
        work.invitations,
        work.refunds,
        work.change_mails,
        work.audit,
    ),
    "bookings": lambda work: MemoryBookings(work.transaction, work.messages, work.reminders, work.audit),
    "invitations": lambda work: MemoryInvitations(work.transaction),
    "reviews": lambda work: MemoryReviews(work.transaction),
    "payments": lambda work: MemoryPayments(work.transaction),
    "refunds": lambda work: MemoryRefunds(work.transaction, work.messages, work.audit),
    "disputes": lambda work: MemoryDisputes(work.transaction),
    "gateway_events": lambda work: MemoryGatewayEvents(work.transaction),
    "coaches": lambda work: MemoryCoaches(work.transaction),
    "appointments": lambda work: MemoryAppointments(
        work.transaction, work.messages, work.reminders, work.change_mails, work.audit
    ),
    "attachments": lambda work: MemoryAttachments(work.transaction),
    "calendars": lambda work: MemoryConnections(work.transaction, work.clock),
}


class MemoryUnitsOfWork:
    """Opens units of work. Each one is rolled back at its end unless it was committed. `results` has the result of each
    commit, which a repeated request with the same idempotency key returns."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        reminder_offsets: Sequence[timedelta] = (),
        change_mail_window: timedelta = timedelta(0),
    ) -> None:
        self.results: list[Made | None] = []
        self._store = store
        self._clock = clock
        self._offsets = reminder_offsets
        self._change_mail_window = change_mail_window

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with self._store.transaction() as transaction:
            work = MemoryUnitOfWork(transaction, self._clock, self._offsets, self._change_mail_window, self.results)
            yield cast(UnitOfWork, work)
