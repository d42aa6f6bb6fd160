"""Ports of the audit log. Its entries are written by the unit of work, which has the trail of their recording."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeAlias

from application.ports import Page, PageRequest
from domain.audit import BEGINNING, OPERATOR, AuditEntryId, AuditOrigin, AuditTrail, ChainLink, StoredAuditEntry

ORIGIN: ContextVar[Callable[[], AuditOrigin]] = ContextVar("audit_origin", default=AuditOrigin)
"""Who acts, set by the HTTP edge and by commands; the system elsewhere. It is called when an entry is recorded, so a
request without one costs nothing."""


def present_origin() -> AuditOrigin:
    return ORIGIN.get()()


def by_operator() -> AuditOrigin:
    return AuditOrigin(OPERATOR)


NewTrail: TypeAlias = Callable[[], AuditTrail]
"""Makes the trail of a unit of work."""


def new_trails(key: bytes) -> NewTrail:
    """`key` is that of the hashes."""
    return partial(AuditTrail, present_origin, key)


UNKEYED_TRAIL = new_trails(b"")
"""For commands, which have no network."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Only entries with these values; None for all. `actor_id` needs `actor_kind`, `object_id` needs `object_kind`.
    `since` is inclusive, `until` exclusive."""

    actor_kind: str | None = None
    actor_id: str | None = None
    action: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPosition:
    """An entry in a list. `cursor` is that of the page after it."""

    id: AuditEntryId
    cursor: str


class AuditQueries(Protocol):
    async def list(self, filter_: AuditFilter, page: PageRequest) -> Page[StoredAuditEntry]:
        """Newest first. Raises `Invalid` for a cursor of another list."""
        ...

    async def last_of(self, filter_: AuditFilter, page: PageRequest) -> AuditPosition | None:
        """The last entry of this page of the list; None if no other follows it. Raises `Invalid` as `list`."""
        ...


@dataclass(frozen=True, slots=True)
class ChainEnds:
    """`anchor`: the last entry that retention has deleted. `head`: the last chained one."""

    anchor: ChainLink = BEGINNING
    head: ChainLink = BEGINNING


@dataclass(frozen=True, slots=True)
class Unchained:
    """`seconds`: the age of the oldest one, 0 without any."""

    entries: int
    seconds: float


class AuditChain(Protocol):
    async def extend(self, *, limit: int) -> int:
        """Chains up to `limit` committed entries in the order of their ids; returns their number.

        An entry waits while a transaction may still commit one with a lower id. One caller at a time chains; the
        others do nothing.
        """
        ...

    async def ends(self) -> ChainEnds: ...

    async def entries(self, after: AuditEntryId, until: AuditEntryId, *, limit: int) -> Sequence[StoredAuditEntry]:
        """Entries with ids above `after` and not above `until`, by id; those without a hash too."""
        ...

    async def unchained(self) -> Unchained: ...

    async def prune(self, age: timedelta, *, limit: int) -> int:
        """Deletes up to `limit` of the oldest chained entries that are older than `age`, and stores the last one as the
        anchor. Returns their number."""
        ...
