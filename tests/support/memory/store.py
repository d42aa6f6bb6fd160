"""The tables in memory, and transactions over them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any


class SettableClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, moment: datetime = datetime(2031, 3, 5, 12, tzinfo=UTC)) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def advance(self, by: timedelta) -> None:
        self.moment += by


@dataclass
class Tables:
    """Rows by table and key. Rows are immutable: a change replaces its row. A test may read them after a commit."""

    rows: dict[str, dict[Any, Any]] = field(default_factory=dict)

    def of(self, table: str) -> dict[Any, Any]:
        return self.rows.setdefault(table, {})


class ChangedTables(Tables):
    """The tables of a transaction: each is copied when the transaction first needs it."""

    def __init__(self, committed: Tables) -> None:
        super().__init__()
        self._committed = committed

    def of(self, table: str) -> dict[Any, Any]:
        if table not in self.rows:
            self.rows[table] = dict(self._committed.rows.get(table, ()))
        return self.rows[table]

    def commit(self) -> Tables:
        self._committed = Tables(self._committed.rows | self.rows)
        self.rows = {}
        return self._committed


class Store:
    """The committed tables. Ids are never used twice, also after a rollback, as with sequences."""

    def __init__(self) -> None:
        self.tables = Tables()
        self._ids: dict[str, count[int]] = {}
        self._open = 0

    def next_id(self, table: str) -> int:
        return next(self._ids.setdefault(table, count(1)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Its tables replace those of the store when it is committed. Transactions must not overlap: what two
        concurrent ones do is tested on PostgreSQL."""
        assert not self._open, "two units of work overlap: test this on PostgreSQL"
        self._open += 1
        try:
            yield Transaction(self)
        finally:
            self._open -= 1


class Transaction:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.tables = ChangedTables(store.tables)

    def commit(self) -> None:
        """Later changes of this transaction need another commit, as on PostgreSQL."""
        self.store.tables = self.tables.commit()


class CountedWakeUps:
    """Counts notifications of the worker."""

    def __init__(self) -> None:
        self.calls = 0

    def notify(self) -> None:
        self.calls += 1
