"""Idempotency keys in memory, and the commit under a key."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from application.idempotency import (
    CLAIM,
    REFUSALS_UP_TO,
    Claim,
    IdempotencyAnswerLost,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    KeptAnswer,
    KeyedRequest,
    Made,
)
from application.ports import Clock
from tests.support.memory.store import SettableClock, Store, Tables

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class KeyRow:
    fingerprint: bytes
    runner: UUID
    leased_until: datetime
    created_at: datetime
    committed: bool = False
    made: str | None = None
    answer: KeptAnswer | None = None


class MemoryIdempotencyKeys:
    """Rows by owner and key. Each call is a transaction."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def claim(self, request: KeyedRequest, *, lease: timedelta, kept_for: timedelta) -> Claim | KeptAnswer | None:
        place, now, runner = (request.owner, request.key), self._clock.now(), uuid4()
        row = self._rows.get(place)
        if row is None:
            self._rows[place] = KeyRow(request.fingerprint, runner, now + lease, now)
            return Claim(*place, runner, None)
        if row.created_at <= now - kept_for:
            del self._rows[place]
            return None
        if row.fingerprint != request.fingerprint:
            raise IdempotencyKeyReused
        if row.answer is not None:
            return row.answer
        if row.leased_until > now:
            return None
        if row.committed and row.made is None:
            raise IdempotencyAnswerLost
        self._rows[place] = replace(row, runner=runner, leased_until=now + lease)
        return Claim(*place, runner, row.made)

    async def keep(self, claim: Claim, answer: KeptAnswer) -> None:
        keys_of_owner = sum(owner == claim.owner for owner, _ in self._rows)
        if answer.status >= 400 and keys_of_owner > REFUSALS_UP_TO:
            await self.release(claim)
        elif (row := _held(self._store.tables, claim)) is not None:
            self._rows[claim.owner, claim.key] = replace(row, answer=answer)

    async def release(self, claim: Claim) -> None:
        row = _held(self._store.tables, claim)
        if row is None or row.answer is not None or (row.committed and row.made is None):
            return
        if row.committed:
            self._rows[claim.owner, claim.key] = replace(row, leased_until=self._clock.now())
        else:
            del self._rows[claim.owner, claim.key]

    async def prune(self, *, older_than: timedelta, limit: int) -> int:
        oldest = sorted(self._rows, key=lambda place: self._rows[place].created_at)
        expired = [place for place in oldest if self._rows[place].created_at <= self._clock.now() - older_than]
        for place in expired[:limit]:
            del self._rows[place]
        return len(expired[:limit])

    @property
    def _rows(self) -> dict[tuple[str, str], KeyRow]:
        return self._store.tables.of("idempotency_keys")


def commit_under_key(tables: Tables, made: Made | None) -> None:
    """Records the completion of the request's work in its transaction. Raises `IdempotencyKeyInUse` if its claim was
    taken over; then the transaction must not be committed."""
    claim = CLAIM.get()
    if claim is None:
        return
    row = _held(tables, claim)
    if row is None:
        raise IdempotencyKeyInUse
    result = row.made if made is None else json.dumps(made)
    tables.of("idempotency_keys")[claim.owner, claim.key] = replace(row, committed=True, made=result)


def _held(tables: Tables, claim: Claim) -> KeyRow | None:
    row: KeyRow | None = tables.of("idempotency_keys").get((claim.owner, claim.key))
    return row if row is not None and row.runner == claim.runner else None


def is_held(tables: Tables, claim: Claim | None) -> bool:
    """Whether the claim, if there is one, was not taken over."""
    return claim is None or _held(tables, claim) is not None


@contextmanager
def request_under(claim: Claim | None) -> Iterator[None]:
    """Within it the use cases run for a request with this claim."""
    reset = CLAIM.set(claim)
    try:
        yield
    finally:
        CLAIM.reset(reset)


async def claim_after_a_crash(store: Store, clock: SettableClock, key: str = "a key") -> Claim:
    """The claim of a request with this key. Called again, the former runner has died, and this one takes over."""
    clock.advance(timedelta(minutes=1))
    request = KeyedRequest("user:1", key, b"request")
    found = await MemoryIdempotencyKeys(store, clock).claim(request, lease=timedelta(seconds=10), kept_for=DAY)
    assert isinstance(found, Claim)
    return found
