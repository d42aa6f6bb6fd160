"""Signing in elsewhere, in the core's words."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.identities import GoogleIdentity


class GoogleAccounts(Protocol):
    """Google, as an OpenID provider. Every call is bounded in time, and raises `GoogleAway` without a sound answer."""

    async def consent_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where to send a browser. `verifier` goes out as its S256 challenge only (RFC 7636)."""
        ...

    async def redeem(self, code: str, *, nonce: str, verifier: str) -> GoogleIdentity:
        """Who came back with this code. Raises `SignInRefused`, `IdentityNotProven`."""
        ...

    async def verify(self, id_token: str) -> GoogleIdentity:
        """Who an ID token that a client got on its own is about. Raises `IdentityNotProven`."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """A browser that was sent away to prove something. `state` and `browser` are fingerprints of what it holds."""

    state: bytes
    browser: bytes
    nonce: str
    verifier: str
    started_at: datetime


class Attempts(Protocol):
    async def keep(self, attempt: Attempt, *, forget_before: datetime) -> None:
        """Forgets some of those that are older, so that what was never finished does not pile up."""
        ...

    async def take(self, state: bytes, browser: bytes, *, not_before: datetime) -> Attempt | None:
        """Once, whoever else asks at the same time; None for what is not there, too old or another browser's."""
        ...
