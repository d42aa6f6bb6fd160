"""The circuit breaker of a destination: when it opens, and which results count."""

from dataclasses import dataclass
from datetime import timedelta

from domain.outbox import Delivered, Held, Outcome


@dataclass(frozen=True, slots=True)
class AttemptCounts:
    """Attempts that count for a destination, and the failures among them."""

    attempts: int
    failures: int


@dataclass(frozen=True, slots=True)
class CircuitBreakerRule:
    """The circuit opens after 70 % failures of at least 10 attempts within 5 minutes. Then one probe is sent
    every 30 s; a successful probe closes it (the thresholds of Convoy's breaker)."""

    window: timedelta = timedelta(minutes=5)
    fewest_attempts: int = 10
    failing_percent: int = 70
    probe_every: timedelta = timedelta(seconds=30)

    def trips(self, counts: AttemptCounts) -> bool:
        return (
            counts.attempts >= self.fewest_attempts and counts.failures * 100 >= self.failing_percent * counts.attempts
        )


def destination_is_healthy(outcome: Outcome) -> bool | None:
    """True: the destination works. False: the destination fails. None: unknown, it was not reached (a message that
    cannot be composed or is held, an exception of the sender)."""
    if isinstance(outcome, Delivered):
        return True
    if isinstance(outcome, Held):
        return None
    if outcome.destination_fault:
        return False
    return None if outcome.status_code is None else True
