"""Argon2id, with the parameters OWASP gives for one lane: 19 MiB, two passes."""

import asyncio
import os
from typing import ClassVar, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError


class Cost(NamedTuple):
    """The cost of a hash: passes, and memory in KiB."""

    passes: int
    kib: int


RECOMMENDED = Cost(passes=2, kib=19 * 1024)

# A hash takes a core about 40 ms. More concurrent hashes than cores would only delay other work.
AT_ONCE = max(1, (os.cpu_count() or 2) // 2)

# A hash of random bytes with the same parameters: a login of an unknown account takes as long as one of a known
# account.
DUMMY_HASH = "$argon2id$v=19$m=19456,t=2,p=1$JteB7OI5UeW9hNGftraVLQ$OZsVXpCDqF26Ajfn8m3fV4i+OQCS2i0f1oksvft8CQk"


class Argon2Passwords:
    cost: ClassVar[Cost] = RECOMMENDED

    def __init__(self) -> None:
        self._argon2 = PasswordHasher(time_cost=self.cost.passes, memory_cost=self.cost.kib, parallelism=1)
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def hash(self, password: str) -> str:
        async with self._turn:
            return await asyncio.to_thread(self._argon2.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        async with self._turn:
            matches = await asyncio.to_thread(self._matches, password, password_hash or DUMMY_HASH)
        return matches and password_hash is not None

    def needs_rehash(self, password_hash: str) -> bool:
        return self._argon2.check_needs_rehash(password_hash)

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except (VerifyMismatchError, InvalidHashError):
            return False
