"""The rules of the chain of the audit log."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from application.audit.chain import AT_ONCE, ExtendAuditChain, PruneAuditLog, VerifyAuditChain
from application.audit.ports import ChainEnds
from domain.audit import AuditEntryId, ChainLink, StoredAuditEntry
from tests.support.memory.account_use_cases import AccountUseCases
from tests.support.memory.audit_log import MemoryAuditLog

DAY = timedelta(days=1)
Entries = dict[int, StoredAuditEntry]


class Log:
    def __init__(self) -> None:
        self.accounts = AccountUseCases()
        self.chain = MemoryAuditLog(self.accounts.store, self.accounts.clock)
        self.extend = ExtendAuditChain(self.chain)
        self.verify = VerifyAuditChain(self.chain)

    @property
    def entries(self) -> Entries:
        return self.accounts.store.tables.of("audit_log")

    async def record(self, number: int) -> None:
        for _ in range(number):
            async with self.accounts.units() as work:
                await work.users.add_without_password(
                    email=f"{len(self.entries)}@example.com", name="Ada", now=self.accounts.clock.now()
                )
                await work.commit()


@pytest.fixture
async def log() -> Log:
    """With five chained entries."""
    log = Log()
    await log.record(5)
    assert await log.extend() == 5
    return log


async def test_untouched_chain_is_verified(log: Log) -> None:
    await log.record(2)
    found = await log.verify()
    assert (found.entries, found.broken, found.unchained.entries, found.late) == (5, None, 2, False)
    log.accounts.clock.advance(DAY)
    assert (await log.verify()).late
    assert await log.extend() == 2
    assert (await log.verify()).entries == 7


async def test_empty_log_is_verified() -> None:
    found = await Log().verify()
    assert (found.entries, found.broken) == (0, None)


def changed(entries: Entries) -> None:
    entries[3] = replace(entries[3], after={"role": "admin"})


def rehashed(entries: Entries) -> None:
    changed(entries)
    entries[3] = replace(entries[3], hash="0" * 64)


def removed(entries: Entries) -> None:
    del entries[3]


def removed_at_the_beginning(entries: Entries) -> None:
    del entries[1]


def removed_at_the_end(entries: Entries) -> None:
    del entries[5]


def inserted(entries: Entries) -> None:
    del entries[3]
    entries[3] = replace(entries[2], id=AuditEntryId(3))


def inserted_without_hash(entries: Entries) -> None:
    entries[3] = replace(entries[3], hash=None, previous_hash=None)


def all_removed(entries: Entries) -> None:
    entries.clear()


@pytest.mark.parametrize(
    ("tamper", "found_at"),
    [
        *((changed, 3), (rehashed, 3), (removed, 4), (removed_at_the_beginning, 2), (removed_at_the_end, 5)),
        *((inserted, 3), (inserted_without_hash, 3), (all_removed, 5)),
    ],
)
async def test_tampering_is_found(log: Log, tamper: Callable[[Entries], None], found_at: int) -> None:
    tamper(log.entries)
    broken = (await log.verify()).broken
    assert broken is not None
    assert broken.id == found_at


async def test_other_head_is_found(log: Log) -> None:
    ends: dict[str, ChainEnds] = log.accounts.store.tables.of("audit_chain")
    ends["ends"] = ChainEnds(head=ChainLink(AuditEntryId(5), "0" * 64))
    assert (await log.verify()).broken is not None


async def test_rest_is_verified_after_retention(log: Log) -> None:
    log.accounts.clock.advance(DAY)
    await log.record(2)
    prune = PruneAuditLog(log.chain, DAY)
    assert await prune() == 5
    assert await prune() == 0
    await log.extend()
    found = await log.verify()
    assert (found.entries, found.broken) == (2, None)
    log.accounts.clock.advance(DAY)
    assert await prune(timedelta(hours=1)) == 0
    assert await prune() == 2
    assert (await log.verify()).broken is None


async def test_entry_that_is_not_chained_is_kept(log: Log) -> None:
    await log.record(1)
    log.accounts.clock.advance(DAY)
    await PruneAuditLog(log.chain, DAY)()
    assert list(log.entries) == [6]


async def test_retention_during_verification_is_no_finding(log: Log) -> None:
    log.accounts.clock.advance(DAY)
    beginning = await log.chain.ends()

    class Pruned(MemoryAuditLog):
        calls = 0

        async def ends(self) -> ChainEnds:
            self.calls += 1
            if self.calls == 1:
                await PruneAuditLog(log.chain, DAY)()
                return beginning
            return await super().ends()

    verified = await VerifyAuditChain(Pruned(log.accounts.store, log.accounts.clock))()
    assert (verified.entries, verified.broken) == (0, None)


async def test_a_call_works_on_a_bounded_number() -> None:
    log, limits = Log(), list[int]()

    class Endless(MemoryAuditLog):
        async def extend(self, *, limit: int) -> int:
            limits.append(limit)
            return limit

        async def prune(self, age: timedelta, *, limit: int) -> int:
            limits.append(limit)
            return limit

    endless = Endless(log.accounts.store, log.accounts.clock)
    assert await ExtendAuditChain(endless)() == await PruneAuditLog(endless, DAY)() == 20 * AT_ONCE
    assert limits == [AT_ONCE] * 40


async def test_verification_reads_in_parts(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("application.audit.chain.AT_ONCE", 2)
    assert (await log.verify()).entries == 5
