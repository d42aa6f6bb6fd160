"""Idempotency keys of requests, and their stored answers.

IdempotencyKeyInvalid   the key is malformed
IdempotencyKeyReused    the key belongs to another request
IdempotencyKeyInUse     the first request with the key still runs; or another process has taken over this one
IdempotencyAnswerLost   the first request was carried out and its process died before the answer was stored
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from application.ports import Limit, RateLimiter
from application.use_cases import use_case
from domain.accounts import UserId
from domain.errors import Conflict, Invalid, Unavailable


class IdempotencyKeyInvalid(Invalid):
    code = "idempotency_key_invalid"
    message = "Invalid Idempotency-Key"

    def __init__(self) -> None:
        super().__init__({"Idempotency-Key": "Must be 1 to 255 printable ASCII characters, given once"})


class IdempotencyKeyReused(Conflict):
    code = "idempotency_key_reused"
    message = "This Idempotency-Key was used for another request"


class IdempotencyKeyInUse(Conflict):
    code = "idempotency_key_in_use"
    message = "A request with this Idempotency-Key is still running. Please try again shortly"
    retry_after = 2


class IdempotencyAnswerLost(Conflict):
    code = "idempotency_answer_lost"
    message = "The request with this Idempotency-Key was carried out, but its answer was lost. It is not repeated"


def owner_of(user_id: UserId) -> str:
    """The `owner` of a user's keys."""
    return f"user:{user_id}"


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """`owner`: the owner of the key; equal keys of two owners are different keys. `fingerprint` identifies the content
    of the request."""

    owner: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a request. `made` is the result of an earlier runner that died after its commit, as JSON
    written by the use case."""

    owner: str
    key: str
    runner: UUID
    made: str | None


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class IdempotencyKeys(Protocol):
    async def claim(self, request: KeyedRequest, *, lease: timedelta, kept_for: timedelta) -> Claim | KeptAnswer | None:
        """None while another runner holds the claim. A claim expires with its lease; taking it over fences off the
        former runner, which cannot commit under it any more.

        Raises `IdempotencyKeyReused`, `IdempotencyAnswerLost`.
        """
        ...

    async def keep(self, claim: Claim, answer: KeptAnswer) -> None:
        """Does nothing if the claim was lost meanwhile. The key of an error is released instead if its owner has many
        keys: the request can then be repeated."""
        ...

    async def release(self, claim: Claim) -> None:
        """Frees the key. If the request was carried out nevertheless, a repeated request returns its result; while a
        statement may still be running, the lease decides."""
        ...

    async def prune(self, *, older_than: timedelta, limit: int) -> int: ...


CLAIM: ContextVar[Claim | None] = ContextVar("idempotency_claim", default=None)
"""The claim of the current request. A commit records it in the same transaction, and raises `IdempotencyKeyInUse` if
the claim is lost. So a request with one key takes effect once."""


Made = bool | int | str | Sequence[Any] | Mapping[str, Any]
"""The result that a use case records for a repeated request, as JSON."""


SAYS_THE_SAME: Final = True
"""For `commit(made)` of a use case whose repetition finds its work done and returns the same answer."""


def recorded_result() -> Any:
    """The value of `commit(made)` if this request was carried out by a process that died before its answer; else None.
    A use case that finds a value returns that result and creates nothing."""
    claim = CLAIM.get()
    return None if claim is None or claim.made is None else json.loads(claim.made)


def without_request_key() -> Context:
    """For a background task that a request starts: it outlives the request, and its commits do not record the claim."""
    context = copy_context()
    context.run(CLAIM.set, None)
    return context


KEPT_FOR = timedelta(hours=72)

REFUSALS_UP_TO = 1_000
"""Up to this number of keys of one owner, error responses are stored. Bounds the rows of rejected requests."""

LEASE = timedelta(seconds=10)
"""Time until another runner may take over a key. It only bounds the wait after a crash: a slow runner loses its claim,
not the guarantee."""

PATIENCE = LEASE.total_seconds()
"""Time that a request waits for the first one with its key. Not shorter than the lease, so it outlasts a dead
runner."""

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25

AT_ONCE = 1000
MOST_STEPS = 20

ANONYMOUS_KEYS_PER_NETWORK = Limit("anonymous-keys", times=300, per=timedelta(hours=1))
"""Above the limit of registrations, the main use of such keys."""


@use_case
class AnswerOnce:
    """Returns the same answer to the same request with the same key.

    - One request runs. Concurrent ones wait for its answer, without a database connection.
    - The same key with another request is rejected.
    - When the lease of a dead runner ends, another one takes over. Committed work is not repeated.
    - If the database is unavailable after the work is done, the answer is sent and not stored.
    """

    keys: IdempotencyKeys
    secret: bytes
    limiter: RateLimiter
    patience: float = PATIENCE

    def fingerprint(self, *parts: bytes) -> bytes:
        """A keyed hash, because a request may contain data that could be guessed from a plain hash, such as a password
        or an address."""
        framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self.secret, framed, hashlib.sha256)

    async def allow_anonymous(self, network: str) -> None:
        """Must be called before a key of a request without an account is claimed. Raises `TooManyRequests`."""
        await self.limiter.take(ANONYMOUS_KEYS_PER_NETWORK, network)

    async def begin(self, request: KeyedRequest) -> Claim | KeptAnswer:
        """Raises `IdempotencyKeyReused`, `IdempotencyKeyInUse`, `IdempotencyAnswerLost`."""
        give_up = time.monotonic() + self.patience
        pause = FIRST_PAUSE
        while True:
            found = await self.keys.claim(request, lease=LEASE, kept_for=KEPT_FOR)
            if found is not None:
                return found
            if time.monotonic() > give_up:
                raise IdempotencyKeyInUse
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    async def end(self, claim: Claim, answer: KeptAnswer | None) -> None:
        """Stores the answer; without one the request can be repeated."""
        with suppress(Unavailable):  # the lease expires
            if answer is None:
                await self.keys.release(claim)
            else:
                await self.keys.keep(claim, answer)


@use_case
class PruneIdempotencyKeys:
    """Deletes keys that expired at least `overdue` ago, up to 20,000 a call; returns their number."""

    keys: IdempotencyKeys

    async def __call__(self, overdue: timedelta = timedelta(0)) -> int:
        pruned = 0
        for _ in range(MOST_STEPS):
            done = await self.keys.prune(older_than=KEPT_FOR + overdue, limit=AT_ONCE)
            pruned += done
            if done < AT_ONCE:
                break
        return pruned
