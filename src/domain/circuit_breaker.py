"""When a destination is left alone for a while, and what an attempt says about it."""

from dataclasses import dataclass
from datetime import timedelta

from domain.outbox import Delivered, Outcome


@dataclass(frozen=True, slots=True)
class Tally:
    """Attempts that said something about a destination, and how many of them said that it fails."""

    attempts: int
    failures: int


@dataclass(frozen=True, slots=True)
class CircuitBreakerRule:
    """A destination that failed in 70 % of at least 10 attempts within 5 minutes is left alone: one message every 30 s
    tries whether it is back, and its success ends it (the thresholds of Convoy's breaker)."""

    window: timedelta = timedelta(minutes=5)
    fewest_attempts: int = 10
    failing_percent: int = 70
    probe_every: timedelta = timedelta(seconds=30)

    def trips(self, tally: Tally) -> bool:
        return tally.attempts >= self.fewest_attempts and tally.failures * 100 >= self.failing_percent * tally.attempts


def destination_is_healthy(outcome: Outcome) -> bool | None:
    """True: it answered as it should. False: it is the destination that fails. None: neither, since it was never asked
    (a message that cannot be written, a sender that raised)."""
    if isinstance(outcome, Delivered):
        return True
    if outcome.destination_fault:
        return False
    return None if outcome.status_code is None else True
