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

    def copy(self) -> "Tables":
        return Tables({table: dict(rows) for table, rows in self.rows.items()})


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
        """A copy of the tables, which replaces them when it is committed. Transactions must not overlap: what two
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
        self.tables = store.tables.copy()

    def commit(self) -> None:
        """Later changes of this transaction need another commit, as on PostgreSQL."""
        self.store.tables = self.tables.copy()


class CountedWakeUps:
    """Counts notifications of the worker."""

    def __init__(self) -> None:
        self.calls = 0

    def notify(self) -> None:
        self.calls += 1
