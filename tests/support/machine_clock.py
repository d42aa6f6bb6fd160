"""The clock port by the machine's clock: for tests that compare nothing with a database, and for negative controls."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from servicekit.clock import machine_time


@dataclass(frozen=True, slots=True)
class SystemClock:
    """`ahead` is how far the machine's clock is wrong."""

    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return machine_time() + self.ahead
