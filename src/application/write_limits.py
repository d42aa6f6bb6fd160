"""Limits on writes: of an account, of its network, and towards those who are notified of an event or an appointment."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar

from application.ports import Limit, RateLimiter
from application.use_cases import use_case
from domain.accounts import UserId
from domain.errors import Errors, TooManyRequests

HOUR = timedelta(hours=1)


class Write(StrEnum):
    BOOKINGS = "bookings"
    EVENTS = "events"
    """New ones."""
    SERIES = "series"
    """Recurring appointments."""
    CHANGES = "changes"
    """Changes and cancellations of what exists."""
    MESSAGES = "messages"
    """To participants, invitations included."""


LOCAL_NETWORKS = frozenset({"local", "127.0.0.1", "::/64"})
"""A Unix socket and loopback: programs of this machine, or a proxy that `TRUSTED_PROXIES` does not name."""


@use_case
class WriteLimits:
    """Counts a write by an account, at three limits at once.

    - Each kind has its limit for an account and hour.
    - All accounts of a network together have `networks` times that limit; those of this machine do not count.
    - An event, an appointment or a coach has `per_recipient` writes an hour, by whichever accounts: those who are
      notified of it get at most as many mails.
    - A write beyond one of the limits does not count at the others.
    """

    raises: ClassVar[Errors] = (TooManyRequests,)

    limiter: RateLimiter
    per_account: Mapping[Write, int]
    per_recipient: int
    networks: int

    async def __call__(self, write: Write, account: UserId, *, network: str, recipient: str | None = None) -> None:
        """`network`: that of `domain.networks.network_of`. `recipient` names the event, the appointment or the
        coach."""
        most = self.per_account[write]
        attempts = [(Limit(f"write-{write}-account", most, HOUR), str(account))]
        if network not in LOCAL_NETWORKS:
            attempts.append((Limit(f"write-{write}-network", most * self.networks, HOUR), network))
        if recipient is not None:
            attempts.append((Limit(f"write-{write}-recipient", self.per_recipient, HOUR), recipient))
        await self.limiter.take_all(attempts)
