"""A request that carries a key is carried out once, however often it arrives."""

import asyncio
import hashlib
import hmac
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from application.ports.idempotency import Claim, IdempotencyKeyInUse, IdempotencyKeys, KeptAnswer, KeyedRequest
from application.ports.security import Limit, RateLimiter
from domain.errors import Unavailable

KEPT_FOR = timedelta(hours=72)
LEASE = timedelta(seconds=10)
"""How long a runner has the key before another may take over. It only bounds the wait after a crash: a runner that is
merely slow loses its claim, not the guarantee."""
PATIENCE = LEASE.total_seconds()
"""How long a request waits for the first one with its key. No shorter than the lease: it outwaits a dead runner."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25
AT_ONCE = 1000
ANONYMOUS_KEYS_PER_NETWORK = Limit("anonymous-keys", times=300, per=timedelta(hours=1))
"""Above the limit of registrations, which are what such keys are for."""


@dataclass(frozen=True, slots=True)
class AnswerOnce:
    """The same key and the same request: the same answer.

    - One runs; who comes meanwhile waits for its answer, and holds no connection while waiting.
    - The same key with another request is refused.
    - A runner that died is replaced when its lease ends. What it committed is not done again.
    - A database that is away after the work is done costs the memory of the answer, not the answer.
    """

    keys: IdempotencyKeys
    secret: bytes
    limiter: RateLimiter
    patience: float = PATIENCE

    def fingerprint(self, *parts: bytes) -> bytes:
        """Keyed, since a request may hold what could be guessed from a plain hash: a password, an address."""
        framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self.secret, framed, hashlib.sha256)

    async def allow_anonymous(self, network: str) -> None:
        """Before a key of a request without an account is claimed. Raises `TooManyRequests`."""
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
        """Keeps the answer; without one the request may be made anew."""
        with suppress(Unavailable):  # the lease ends by itself
            if answer is None:
                await self.keys.release(claim)
            else:
                await self.keys.keep(claim, answer)


@dataclass(frozen=True, slots=True)
class ForgetKeys:
    """Forgets the keys whose time is over, some at a time; answers how many."""

    keys: IdempotencyKeys

    async def __call__(self) -> int:
        return await self.keys.forget(older_than=KEPT_FOR, limit=AT_ONCE)
