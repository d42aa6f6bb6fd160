"""The chain of the audit log: extended by the worker, verified by `convene doctor`."""

from dataclasses import dataclass
from datetime import timedelta

from application.audit.ports import AuditChain, ChainEnds, Unchained
from application.use_cases import use_case
from domain.audit import ChainBreak, ChainLink, next_link

AT_ONCE = 500
MOST_STEPS = 20

LATE_SECONDS = 60
"""After which an entry should be chained. It usually takes less than 10 s."""


@use_case
class ExtendAuditChain:
    """Chains committed entries, up to 10,000 a call; returns their number."""

    chain: AuditChain

    async def __call__(self) -> int:
        chained = 0
        for _ in range(MOST_STEPS):
            done = await self.chain.extend(limit=AT_ONCE)
            chained += done
            if done < AT_ONCE:
                break
        return chained


@use_case
class PruneAuditLog:
    """Deletes chained entries that are older than `age` by at least `overdue`, up to 10,000 a call; returns their
    number. The rest still verifies, from the anchor."""

    chain: AuditChain
    age: timedelta

    async def __call__(self, overdue: timedelta = timedelta(0)) -> int:
        pruned = 0
        for _ in range(MOST_STEPS):
            done = await self.chain.prune(self.age + overdue, limit=AT_ONCE)
            pruned += done
            if done < AT_ONCE:
                break
        return pruned


@dataclass(frozen=True, slots=True)
class Verified:
    """`broken`: the first entry that does not follow from the one before; None if the chain is whole."""

    entries: int
    head: ChainLink
    broken: ChainBreak | None
    unchained: Unchained

    @property
    def late(self) -> bool:
        return self.unchained.seconds > LATE_SECONDS


@use_case
class VerifyAuditChain:
    """Computes the hash of every entry from the anchor to the head. A changed, removed or inserted entry is found."""

    chain: AuditChain

    async def __call__(self) -> Verified:
        while True:
            ends = await self.chain.ends()
            found = await self._verify(ends)
            if found.broken is None or (await self.chain.ends()).anchor == ends.anchor:
                return found  # else entries were deleted meanwhile by retention

    async def _verify(self, ends: ChainEnds) -> Verified:
        unchained = await self.chain.unchained()
        last, number = ends.anchor, 0
        while last.id < ends.head.id:
            entries = await self.chain.entries(last.id, ends.head.id, limit=AT_ONCE)
            if not entries:
                return Verified(number, ends.head, ChainBreak(ends.head.id, "it was removed"), unchained)
            for entry in entries:
                found = next_link(last, entry)
                if isinstance(found, ChainBreak):
                    return Verified(number, ends.head, found, unchained)
                last, number = found, number + 1
        broken = None if last == ends.head else ChainBreak(ends.head.id, "it is not the stored head of the chain")
        return Verified(number, ends.head, broken, unchained)
