"""Passwords, tokens and limits, in the core's words."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from domain.users import LoginId, UserId


class PasswordHasher(Protocol):
    async def hash(self, password: str) -> str: ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Takes as long for no hash at all as for a wrong password, so that time does not tell who has an account."""
        ...

    def needs_rehash(self, password_hash: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class AccessClaims:
    user_id: UserId
    login_id: LoginId
    token_version: int


class Tokens(Protocol):
    """Raises `Unauthenticated` for whatever it did not issue for that very purpose, or that has ended."""

    def issue_access(self, claims: AccessClaims, now: datetime) -> str: ...

    def read_access(self, token: str) -> AccessClaims: ...

    def issue_refresh(self, login_id: LoginId, now: datetime) -> tuple[str, datetime]:
        """The token and when it ends."""
        ...

    def read_refresh(self, token: str) -> LoginId: ...

    def fingerprint(self, token: str) -> bytes:
        """What is stored of a token: 32 bytes from which it cannot be had back."""
        ...


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `times` in any stretch of `per`, counted under `name`."""

    name: str
    times: int
    per: timedelta


class RateLimiter(Protocol):
    async def take(self, limit: Limit, who: str) -> None:
        """Counts one, atomically over all processes; raises `TooManyRequests`, uncounted, when the limit is reached."""
        ...

    async def give_back(self, limit: Limit, who: str) -> None:
        """Takes one back: the attempt turned out to be legitimate."""
        ...
