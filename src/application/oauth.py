"""OAuth attempts: an authorization request is bound to one browser and completed once, within a time limit."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from application.ports import Clock
from application.use_cases import use_case
from domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class Attempt:
    """A stored authorization request. `state` and `browser` are hashes of the secrets that the browser holds."""

    state: bytes
    browser: bytes
    nonce: str
    verifier: str
    started_at: datetime


class Attempts(Protocol):
    async def keep(self, attempt: Attempt, *, forget_before: datetime) -> None:
        """Also deletes some attempts from before `forget_before`, so that unfinished ones do not accumulate."""
        ...

    async def take(self, state: bytes, browser: bytes, *, not_before: datetime) -> Attempt | None:
        """Returns the attempt once, also under concurrent calls; None if it is unknown, expired or of another
        browser."""
        ...


ATTEMPT_LIFETIME = timedelta(minutes=10)


class AttemptUnknown(Conflict):
    code = "sign_in_unknown"
    message = (
        "This sign-in was not started in this browser, has been used already or is older than 10 minutes. "
        "Please start again"
    )


@dataclass(frozen=True, slots=True)
class Started:
    """The secrets of a new attempt. `state`, `nonce` and the challenge of `verifier` are sent with the browser's
    redirect; `browser` is set as a cookie."""

    state: str
    browser: str
    nonce: str
    verifier: str


@use_case
class OAuthAttempts:
    """Creates and completes attempts. Each secret has 256 bits. The browser's secrets are stored as hashes, so that
    access to the table does not allow completing an attempt. The secret in the browser's cookie prevents an attacker
    from completing a sign-in of theirs in a victim's browser (RFC 9700, 4.7)."""

    attempts: Attempts
    clock: Clock

    @staticmethod
    def new() -> Started:
        return Started(*(secrets.token_urlsafe(32) for _ in range(4)))

    async def keep(self, started: Started) -> None:
        now = self.clock.now()
        attempt = Attempt(
            fingerprint(started.state), fingerprint(started.browser), started.nonce, started.verifier, now
        )
        await self.attempts.keep(attempt, forget_before=now - ATTEMPT_LIFETIME)

    async def take(self, *, state: str | None, browser: str | None) -> Attempt:
        """Raises `AttemptUnknown`."""
        if not state or not browser:
            raise AttemptUnknown
        not_before = self.clock.now() - ATTEMPT_LIFETIME
        attempt = await self.attempts.take(fingerprint(state), fingerprint(browser), not_before=not_before)
        if attempt is None:
            raise AttemptUnknown
        return attempt


def fingerprint(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
