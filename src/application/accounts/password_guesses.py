"""Limits of attempts with passwords and second factors. Guesses by strangers must not lock out the owner of an
account."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from application.accounts.ports.accounts import Credentials, GuessedAccounts
from application.ports import Clock, Limit, RateLimiter
from application.unit_of_work import UnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.credentials import KNOWN_NETWORK_LIFETIME, NetworksBefore
from domain.networks import network_of

GUESSES_PER_ACCOUNT = Limit("login-account", times=10, per=timedelta(hours=1))
"""Over all networks that have not logged in to it."""
GUESSES_PER_KNOWN_NETWORK = Limit("login-known-network", times=10, per=timedelta(hours=1))
"""Of one account, for each network that has logged in to it."""
GUESSES_PER_NETWORK = Limit("login-address", times=300, per=timedelta(hours=1))
"""Over all accounts."""
MOST_KNOWN = 50


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """`per_account`: over all networks that have not logged in to it; each network that has counts by
    `per_known_network`. `per_network`: over all accounts."""

    per_account: Limit
    per_known_network: Limit
    per_network: Limit


@use_case
class KnownNetworks:
    """The networks that have logged in to an account in the last 90 days, at most 50 of an account.

    They are stored as keyed hashes, so the table reveals neither networks nor that two accounts share one. A new
    `secret` invalidates all of them.
    """

    secret: bytes
    clock: Clock

    async def remember(self, work: UnitOfWork, user: User, address: str) -> NetworksBefore:
        """The account is locked, or new."""
        now = self.clock.now()
        return await work.login_networks.remember(
            user.id, self.fingerprint(user.email, address), now, since=now - KNOWN_NETWORK_LIFETIME, at_most=MOST_KNOWN
        )

    def fingerprint(self, email: str, address: str) -> bytes:
        return hmac.digest(self.secret, f"{email}\n{network_of(address)}".encode(), hashlib.sha256)


@dataclass(frozen=True, slots=True)
class Guess:
    """An attempt within the limits, with the stored credentials."""

    credentials: Credentials | None
    counted: tuple[tuple[Limit, str], ...]


@use_case
class PasswordGuesses:
    """Counts the password attempts of an account.

    - Ten an hour over all networks that have not logged in to the account, and ten for each network that has.
    - 300 an hour for a network over all accounts.
    - The limits are checked before the password is hashed. A right password does not count.
    """

    accounts: GuessedAccounts
    limiter: RateLimiter
    known_networks: KnownNetworks
    limits: ClassVar[GuessLimits] = GuessLimits(GUESSES_PER_ACCOUNT, GUESSES_PER_KNOWN_NETWORK, GUESSES_PER_NETWORK)

    async def begin(self, email: str, address: str) -> Guess:
        """Raises `TooManyRequests`."""
        network = network_of(address)
        limits = self.limits
        await self.limiter.take(limits.per_network, network)
        since = self.known_networks.clock.now() - KNOWN_NETWORK_LIFETIME
        fingerprint = self.known_networks.fingerprint(email, address)
        credentials, is_known = await self.accounts.find(email, fingerprint, since=since)
        limit, who = (limits.per_known_network, f"{email}\n{network}") if is_known else (limits.per_account, email)
        await self.limiter.take(limit, who)
        return Guess(credentials, ((limits.per_network, network), (limit, who)))

    async def guess_succeeded(self, guess: Guess) -> None:
        for limit, who in guess.counted:
            await self.limiter.give_back(limit, who)


@use_case
class SecondFactorGuesses(PasswordGuesses):
    """Counts the attempts with second factors, by the same rules and apart from those with passwords."""

    limits: ClassVar[GuessLimits] = GuessLimits(
        Limit("second-factor-account", times=10, per=timedelta(hours=1)),
        Limit("second-factor-known-network", times=10, per=timedelta(hours=1)),
        Limit("second-factor-address", times=300, per=timedelta(hours=1)),
    )
