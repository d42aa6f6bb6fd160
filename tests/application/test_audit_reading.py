"""Reading and exporting the audit log, which are recorded in it."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from application.audit.ports import UNKEYED_TRAIL, AuditFilter
from application.audit.reading import AuditExport, ReadAuditLog
from application.ports import PageRequest
from domain.audit import AuditAction, Audited, AuditedKind, AuditEntryId, Fields, StoredAuditEntry
from domain.errors import Invalid
from tests.support.memory.audit_log import MemoryAuditLog, audit_entries, store_entries
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

SINCE = datetime(2026, 3, 1, tzinfo=UTC)


class Log:
    def __init__(self) -> None:
        self.store, self.clock = Store(), SettableClock()
        self.read = ReadAuditLog(MemoryUnitsOfWork(self.store, self.clock), MemoryAuditLog(self.store, self.clock))

    def has(self, number: int) -> None:
        trail = UNKEYED_TRAIL()
        for _ in range(number):
            trail.record(AuditAction.LOGIN_FAILED, Audited(AuditedKind.ACCOUNT, "1"))
        store_entries(self.store, self.clock, trail)

    def recorded(self) -> Sequence[tuple[str, str, Fields | None]]:
        """Readings of the log."""
        entries = [entry for entry in audit_entries(self.store) if entry.action.startswith("audit.")]
        return [(entry.action, entry.audited.kind, entry.after) for entry in entries]


@pytest.fixture
def log() -> Log:
    return Log()


async def exported(export: AuditExport) -> list[AuditEntryId]:
    return [entry.id async for batch in export.entries for entry in batch]


def ids(entries: Sequence[StoredAuditEntry]) -> list[int]:
    return [entry.id for entry in entries]


async def test_page_is_read_and_recorded_with_its_filter(log: Log) -> None:
    log.has(3)
    page = await log.read(AuditFilter(action="login.failed", since=SINCE), PageRequest(2))
    assert ids(page.items) == [3, 2]
    rest = await log.read(AuditFilter(action="login.failed"), PageRequest(2, page.next))
    assert ids(rest.items) == [1]
    assert log.recorded() == [
        ("audit.read", "audit_log", {"action": "login.failed", "since": "2026-03-01T00:00:00+00:00"}),
        ("audit.read", "audit_log", {"action": "login.failed"}),
    ]


async def test_export_has_all_entries_and_is_recorded(log: Log) -> None:
    log.has(5)
    export = await log.read.export(AuditFilter(action="login.failed"), at_once=2)
    assert log.recorded() == [("audit.exported", "audit_log", {"action": "login.failed"})]
    assert (await exported(export), export.next) == ([5, 4, 3, 2, 1], None)


async def test_export_is_bounded_and_goes_on_after_its_last_entry(log: Log) -> None:
    log.has(5)
    wanted = AuditFilter(object_kind="account")
    export = await log.read.export(wanted, most=3, at_once=2)
    assert await exported(export) == [5, 4, 3]
    rest = await log.read.export(wanted, export.next, most=3, at_once=2)
    assert (await exported(rest), rest.next) == ([2, 1], None)


async def test_entries_added_during_an_export_do_not_move_its_end(log: Log) -> None:
    log.has(5)
    export = await log.read.export(AuditFilter(), most=3, at_once=2)
    log.has(1)
    assert await exported(export) == [7, 6, 5, 4, 3], "the record of the export, and the entry after it"
    assert await exported(await log.read.export(AuditFilter(), export.next)) == [2, 1]


async def test_cursor_of_another_list_is_rejected_and_not_recorded(log: Log) -> None:
    with pytest.raises(Invalid):
        await log.read(AuditFilter(), PageRequest(2, "cursor of no list"))
    with pytest.raises(Invalid):
        await log.read.export(AuditFilter(), "cursor of no list")
    assert log.recorded() == []
