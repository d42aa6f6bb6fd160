"""The audit log in memory: entries by id, and the ends of their chain."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from application.audit.ports import AuditFilter, AuditPosition, ChainEnds, Unchained
from application.ports import Clock, Page, PageRequest
from domain.audit import AuditEntryId, AuditTrail, ChainLink, StoredAuditEntry, links
from infrastructure.postgres.pages import cursor_of, moment_and_id_after
from tests.support.memory.store import Store, Tables, Transaction

AUDIT_KEY = b"key of the hashes"


def write_entries(transaction: Transaction, clock: Clock, trail: AuditTrail) -> None:
    _write(transaction.store, transaction.tables, clock, trail)


def store_entries(store: Store, clock: Clock, trail: AuditTrail) -> None:
    """Without a transaction."""
    _write(store, store.tables, clock, trail)


def _write(store: Store, tables: Tables, clock: Clock, trail: AuditTrail) -> None:
    for entry in trail.entries:
        entry_id = AuditEntryId(store.next_id("audit_log"))
        values: dict[str, Any] = {each.name: getattr(entry, each.name) for each in fields(entry)}
        tables.of("audit_log")[entry_id] = StoredAuditEntry(id=entry_id, at=clock.now(), **values)
    trail.entries.clear()


def audit_entries(store: Store) -> list[StoredAuditEntry]:
    """By id."""
    return list(store.tables.of("audit_log").values())


class MemoryAuditLog:
    """The port of the queries and that of the chain."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self, filter_: AuditFilter, page: PageRequest) -> Page[StoredAuditEntry]:
        rows = self._newest(filter_, page.after)
        shown = rows[: page.limit]
        return Page(shown, cursor_of(shown[-1].at, shown[-1].id) if len(rows) > len(shown) else None)

    async def last_of(self, filter_: AuditFilter, page: PageRequest) -> AuditPosition | None:
        rows = self._newest(filter_, page.after)
        if len(rows) <= page.limit:
            return None
        last = rows[page.limit - 1]
        return AuditPosition(last.id, cursor_of(last.at, last.id))

    def _newest(self, filter_: AuditFilter, after: str | None) -> Sequence[StoredAuditEntry]:
        moment, number = moment_and_id_after(after)
        wanted = {
            ("actor", "kind"): filter_.actor_kind,
            ("actor", "id"): filter_.actor_id,
            ("action",): filter_.action,
            ("audited", "kind"): filter_.object_kind,
            ("audited", "id"): filter_.object_id,
        }
        return [
            entry
            for entry in sorted(self._entries.values(), key=lambda entry: (entry.at, entry.id), reverse=True)
            if all(value is None or _value(entry, path) == value for path, value in wanted.items())
            and (filter_.since is None or entry.at >= filter_.since)
            and (filter_.until is None or entry.at < filter_.until)
            and (moment is None or (entry.at, entry.id) < (moment, number))
        ]

    async def extend(self, *, limit: int) -> int:
        ends = await self.ends()
        new = [entry for entry in self._by_id() if entry.hash is None and entry.id > ends.head.id][:limit]
        previous = ends.head
        for entry, link in zip(new, links(ends.head, new), strict=True):
            self._entries[entry.id] = replace(entry, previous_hash=previous.hash, hash=link.hash)
            previous = link
        self._store.tables.of("audit_chain")["ends"] = replace(ends, head=previous)
        return len(new)

    async def ends(self) -> ChainEnds:
        ends: ChainEnds = self._store.tables.of("audit_chain").get("ends", ChainEnds())
        return ends

    async def entries(self, after: AuditEntryId, until: AuditEntryId, *, limit: int) -> Sequence[StoredAuditEntry]:
        return [entry for entry in self._by_id() if after < entry.id <= until][:limit]

    async def unchained(self) -> Unchained:
        head = (await self.ends()).head
        new = [entry for entry in self._by_id() if entry.hash is None and entry.id > head.id]
        ages = [(self._clock.now() - entry.at).total_seconds() for entry in new]
        return Unchained(len(new), max(ages, default=0))

    async def prune(self, age: timedelta, *, limit: int) -> int:
        ends, expired = await self.ends(), self._clock.now() - age
        oldest = [entry for entry in self._by_id() if entry.id <= ends.head.id][:limit]
        pruned = [entry for entry in oldest if entry.at <= expired]
        if pruned:
            last = pruned[-1]
            self._store.tables.of("audit_chain")["ends"] = replace(ends, anchor=ChainLink(last.id, last.hash or ""))
        for entry in pruned:
            del self._entries[entry.id]
        return len(pruned)

    def _by_id(self) -> Sequence[StoredAuditEntry]:
        return sorted(self._entries.values(), key=lambda entry: entry.id)

    @property
    def _entries(self) -> dict[AuditEntryId, StoredAuditEntry]:
        return self._store.tables.of("audit_log")


def _value(entry: object, path: Sequence[str]) -> Any:
    for name in path:
        entry = getattr(entry, name)
    return entry
