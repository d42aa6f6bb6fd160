"""The audit log and its chain, in memory and in PostgreSQL."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from application.audit.chain import VerifyAuditChain
from application.audit.ports import AuditChain, AuditFilter, AuditQueries, new_trails
from application.ports import PageRequest
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import Role
from domain.audit import ANONYMOUS, SYSTEM, AuditAction, AuditActor, Audited, AuditedKind
from domain.errors import Invalid
from domain.outbox import ALWAYS_SERVED, routes_for
from infrastructure.postgres.audit.chain import PostgresAuditChain
from infrastructure.postgres.audit.queries import PostgresAuditQueries
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.databases import Databases
from tests.support.memory.audit_log import MemoryAuditLog
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
NONE, LONG = timedelta(0), timedelta(days=1)
ACCOUNT, EVENT = Audited(AuditedKind.ACCOUNT, "1"), Audited(AuditedKind.EVENT, "1")


@dataclass
class Log:
    units: OpenUnitOfWork
    queries: AuditQueries
    chain: AuditChain

    async def record(self, *actions: AuditAction, audited: Audited = ACCOUNT, **values: Any) -> None:
        """In one unit of work."""
        async with self.units() as work:
            for action in actions:
                work.audit.record(action, audited, **values)
            await work.commit()

    async def actions(self, **wanted: Any) -> list[str]:
        return [entry.action for entry in (await self.queries.list(AuditFilter(**wanted), PageRequest(10))).items]


@pytest.fixture
async def empty_database(postgres_database: Database, databases: Databases, shared_database_url: str) -> Database:
    await databases.empty(shared_database_url)
    return postgres_database


@pytest.fixture(params=["memory", "postgres"])
def log(request: pytest.FixtureRequest) -> Log:
    clock = SettableClock(datetime.now(UTC))
    if request.param == "memory":
        store = Store()
        memory = MemoryAuditLog(store, clock)
        return Log(MemoryUnitsOfWork(store, clock), memory, memory)
    database: Database = request.getfixturevalue("empty_database")
    return Log(
        UnitsOfWork(database, routes_for(ALWAYS_SERVED), clock, lambda: None, new_trail=new_trails(b"key")),
        PostgresAuditQueries(database),
        PostgresAuditChain(database),
    )


async def test_entries_have_what_was_recorded(log: Log) -> None:
    fields: dict[str, Any] = {"before": {"role": "user", "number": 1}, "after": {"role": None, "flag": True}}
    await log.record(AuditAction.ROLE_CHANGED, actor=AuditActor("admin", "7"), **fields)
    [entry] = (await log.queries.list(AuditFilter(), PageRequest(10))).items
    assert (entry.action, entry.audited, entry.actor) == (AuditAction.ROLE_CHANGED, ACCOUNT, AuditActor("admin", "7"))
    assert {"before": entry.before, "after": entry.after} == fields
    assert (entry.network, entry.request_id, entry.hash, entry.previous_hash) == (None, None, None, None)
    assert abs(entry.at - datetime.now(UTC)) < LONG


async def test_entries_of_a_unit_of_work_are_written_once_with_its_commit(log: Log) -> None:
    async with log.units() as work:
        work.audit.record(AuditAction.ROLE_CHANGED, ACCOUNT)
        await work.commit()
        await work.commit()
    async with log.units() as work:
        work.audit.record(AuditAction.ROLE_CHANGED, ACCOUNT)
    assert len(await log.actions()) == 1


async def test_repositories_record_their_changes(log: Log) -> None:
    async with log.units() as work:
        user = await work.users.add(email="a@example.com", name="A", role=Role.USER, password_hash="h", now=NOW)
        await work.users.save(replace(user, role=Role.ADMIN, name="B"))
        await work.logins.end(await work.logins.start(user, NOW), NOW, reason="a test")
        await work.commit()
    async with log.units() as work:
        await work.users.save(replace(user, role=Role.USER))
        await work.commit()
    assert await log.actions(object_kind="account", object_id=str(user.id)) == [
        *("account.role_changed", "login.succeeded", "account.role_changed", "account.created")
    ]
    assert await log.actions(object_kind="session") == ["session.ended"]


async def test_list_is_filtered(log: Log) -> None:
    await log.record(AuditAction.LOGIN_FAILED, actor=ANONYMOUS)
    await log.record(AuditAction.EVENT_CREATED, audited=EVENT, actor=SYSTEM)
    await log.record(AuditAction.ROLE_CHANGED, actor=AuditActor("admin", "7"))
    assert await log.actions(actor_kind="admin", actor_id="7") == ["account.role_changed"]
    assert await log.actions(actor_kind="admin", actor_id="8") == []
    assert await log.actions(action="login.failed") == ["login.failed"]
    assert await log.actions(object_kind="event") == ["event.created"]
    assert await log.actions(object_kind="account", object_id="1") == ["account.role_changed", "login.failed"]
    now = datetime.now(UTC)
    assert len(await log.actions(since=now - LONG, until=now + LONG)) == 3
    assert await log.actions(since=now + LONG) == await log.actions(until=now - LONG) == []


async def test_list_has_pages(log: Log) -> None:
    for _ in range(3):
        await log.record(AuditAction.LOGIN_FAILED)
    first = await log.queries.list(AuditFilter(), PageRequest(2))
    second = await log.queries.list(AuditFilter(), PageRequest(2, first.next))
    ids = [entry.id for entry in (*first.items, *second.items)]
    assert (ids, second.next) == (sorted(ids, reverse=True), None)
    assert len(ids) == 3
    with pytest.raises(Invalid):
        await log.queries.list(AuditFilter(), PageRequest(2, "cursor of no list"))


async def test_entries_are_chained_in_the_order_of_their_ids(log: Log) -> None:
    await log.record(*[AuditAction.LOGIN_FAILED] * 3)
    assert (await log.chain.unchained()).entries == 3
    assert await log.chain.extend(limit=2) == 2
    assert await log.chain.extend(limit=2) == 1
    assert await log.chain.extend(limit=2) == 0
    assert (await log.chain.unchained()).entries == 0
    assert (await log.chain.unchained()).seconds == 0
    ends = await log.chain.ends()
    entries = await log.chain.entries(ends.anchor.id, ends.head.id, limit=10)
    assert [entry.previous_hash for entry in entries] == ["", *(entry.hash for entry in entries[:-1])]
    assert (ends.head.id, ends.head.hash) == (entries[-1].id, entries[-1].hash)
    assert await log.chain.entries(entries[0].id, entries[1].id, limit=10) == entries[1:2]
    assert (await VerifyAuditChain(log.chain)()).broken is None


@pytest.mark.parametrize("chained", [True, False])
async def test_only_old_chained_entries_are_pruned(log: Log, chained: bool) -> None:
    await log.record(*[AuditAction.LOGIN_FAILED] * 3)
    if not chained:
        assert await log.chain.prune(NONE, limit=5) == 0
        return
    await log.chain.extend(limit=5)
    assert await log.chain.prune(LONG, limit=5) == 0
    assert await log.chain.prune(NONE, limit=2) == 2
    verified = await VerifyAuditChain(log.chain)()
    assert (verified.entries, verified.broken) == (1, None)
    await log.record(AuditAction.LOGIN_FAILED)
    await log.chain.extend(limit=5)
    assert await log.chain.prune(NONE, limit=5) == 2
    await log.record(AuditAction.LOGIN_FAILED)
    await log.chain.extend(limit=5)
    assert (await VerifyAuditChain(log.chain)()).broken is None


async def test_last_entry_of_a_page_is_found_if_others_follow(log: Log) -> None:
    await log.record(*[AuditAction.LOGIN_FAILED] * 3, AuditAction.ROLE_CHANGED)
    wanted = AuditFilter(action="login.failed")
    page = await log.queries.list(wanted, PageRequest(2))
    last = await log.queries.last_of(wanted, PageRequest(2))
    assert last is not None
    assert (last.id, last.cursor) == (page.items[-1].id, page.next)
    assert await log.queries.last_of(wanted, PageRequest(2, last.cursor)) is None
    assert await log.queries.last_of(wanted, PageRequest(3)) is None
    with pytest.raises(Invalid):
        await log.queries.last_of(wanted, PageRequest(2, "cursor of no list"))
