"""Reading the audit log. Who reads it is recorded in it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import ClassVar

from application.audit.ports import AuditFilter, AuditPosition, AuditQueries
from application.ports import MAX_PAGE, Page, PageRequest
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.audit import AuditAction, Audited, AuditedKind, Fields, StoredAuditEntry
from domain.errors import Errors

MOST_EXPORTED = 100_000
"""Entries of one export."""


@dataclass(frozen=True, slots=True)
class AuditExport:
    """`entries` come in batches. `next` is the cursor of the export that goes on; None if there are no more."""

    entries: AsyncIterator[Sequence[StoredAuditEntry]]
    next: str | None


@use_case
class ReadAuditLog:
    """Entries of the audit log, newest first. Each page that is read and each export is recorded with its filter (PCI
    DSS 4.0, 10.2.1.3), before anything is shown."""

    raises: ClassVar[Errors] = ()

    open_work: OpenUnitOfWork
    queries: AuditQueries

    async def __call__(self, filter_: AuditFilter, page: PageRequest) -> Page[StoredAuditEntry]:
        """Raises `Invalid` for a cursor of another list."""
        found = await self.queries.list(filter_, page)
        await self._record(AuditAction.AUDIT_READ, filter_)
        return found

    async def export(
        self, filter_: AuditFilter, after: str | None = None, *, most: int = MOST_EXPORTED, at_once: int = MAX_PAGE
    ) -> AuditExport:
        """The next `most` entries, which are read while they are iterated, `at_once` at a time. Raises `Invalid` for a
        cursor of another list."""
        last = await self.queries.last_of(filter_, PageRequest(most, after))
        await self._record(AuditAction.AUDIT_EXPORTED, filter_)
        return AuditExport(self._batches(filter_, after, last, at_once), None if last is None else last.cursor)

    async def _batches(
        self, filter_: AuditFilter, after: str | None, last: AuditPosition | None, at_once: int
    ) -> AsyncIterator[Sequence[StoredAuditEntry]]:
        """Up to the last one by its id: entries that were added meanwhile move the others down."""
        while True:
            page = await self.queries.list(filter_, PageRequest(at_once, after))
            ids = [entry.id for entry in page.items]
            if last is not None and last.id in ids:
                yield page.items[: ids.index(last.id) + 1]
                return
            yield page.items
            after = page.next
            if after is None:
                return

    async def _record(self, action: AuditAction, filter_: AuditFilter) -> None:
        async with self.open_work() as work:
            work.audit.record(action, Audited(AuditedKind.AUDIT_LOG, None), after=_fields(filter_))
            await work.commit()


def _fields(filter_: AuditFilter) -> Fields:
    given = {each.name: getattr(filter_, each.name) for each in fields(filter_)}
    texts = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}
    return {name: text for name, text in texts.items() if text is not None}
