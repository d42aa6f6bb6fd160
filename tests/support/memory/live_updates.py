"""Live updates in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from application.notifications.ports import EntryId, LiveUpdate
from domain.accounts import UserId
from domain.outbox import Message
from tests.support.memory.store import Store


class MemoryLiveUpdates:
    """Rows: the facilitator, the id of the message, and the update."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def record(self, facilitator_id: UserId, message: Message, payload: Mapping[str, object]) -> None:
        rows = self._store.tables.of("live_updates")
        if message.id not in rows:
            entry_id = EntryId(self._store.next_id("live_updates"))
            update = LiveUpdate(entry_id, message.message_type, dict(payload), message.occurred_at)
            rows[message.id] = (facilitator_id, update)

    async def newest(self, facilitator_id: UserId) -> EntryId:
        return max((update.id for update in self._of(facilitator_id)), default=EntryId(0))

    async def after(self, facilitator_id: UserId, entry_id: EntryId, *, limit: int) -> Sequence[LiveUpdate]:
        return [update for update in self._of(facilitator_id) if update.id > entry_id][:limit]

    async def has_updates(self, facilitator_id: UserId, entry_id: EntryId) -> bool:
        return any(update.id > entry_id for update in self._of(facilitator_id))

    def _of(self, facilitator_id: UserId) -> list[LiveUpdate]:
        rows = self._store.tables.of("live_updates").values()
        return [update for owner, update in rows if owner == facilitator_id]


class MemoryListener:
    def __init__(self) -> None:
        self.signal = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.signal.wait(), seconds)
        except TimeoutError:
            return False
        self.signal.clear()
        return True


class MemoryListeners:
    """Signals of one process. A signal without a listener is lost."""

    def __init__(self) -> None:
        self._listeners: dict[UserId, set[MemoryListener]] = {}

    def signal(self, facilitator_id: UserId) -> None:
        for listener in self._listeners.get(facilitator_id, ()):
            listener.signal.set()

    @asynccontextmanager
    async def listening(self, facilitator_id: UserId) -> AsyncIterator[MemoryListener]:
        listener = MemoryListener()
        listeners = self._listeners.setdefault(facilitator_id, set())
        listeners.add(listener)
        try:
            yield listener
        finally:
            listeners.discard(listener)
