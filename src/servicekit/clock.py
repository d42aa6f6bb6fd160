"""The database's clock, which decides in every process what is due, expired or started, also while the machine's clock
is wrong."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from servicekit.log_errors import error_text

MOST_DIFFERENCE = timedelta(seconds=30)
"""Of the machine's clock. A larger one is logged, and a failure of `convene doctor`."""

_SECOND = 1_000_000_000
_STEP = _SECOND
"""Nanoseconds. If the database's clock went back by more, `now` goes back too; otherwise it only stands still."""
_DRIFT = 2_000
"""One nanosecond in so many is what two clocks may diverge by (500 ppm, the most that the kernel slews by)."""
_EXACT = _SECOND // 4
"""Nanoseconds. A reading that is less exact is repeated soon."""
_LOG_AGAIN = 600 * _SECOND
_EPOCH = datetime.fromtimestamp(0, UTC)

_log = structlog.get_logger(__name__)


def machine_time() -> datetime:
    """The time by the machine's clock."""
    return _moment(_machine_ns())


def _machine_ns() -> int:
    return time.time_ns()


def _elapsed_ns() -> int:
    """Nanoseconds that have passed, also while the machine slept where the system counts them."""
    if sys.platform == "linux":
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)  # time.monotonic stops there during sleep
    return time.monotonic_ns()


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two readings, and between two looks for a reason to read earlier."""

    read_every: float = 60
    look_every: float = 1


class DatabaseClock:
    """The time of the last reading of the database's clock, plus the time that has elapsed since then.

    A reading is exact to half of its round trip. It replaces the former one if it is more exact or contradicts it.
    `run` reads every minute, and earlier if the machine's clock jumped or the process stood still. `now` never goes
    back, except to follow a database that went back by more than a second. Before the first reading it is the machine's
    time, and `is_read` is False.

    `connection` opens a connection to the database. `machine` and `elapsed` are clocks, in nanoseconds.
    """

    def __init__(
        self,
        connection: Callable[[], AbstractAsyncContextManager[Any]],
        *,
        pace: Pace = Pace(),
        machine: Callable[[], int] = _machine_ns,
        elapsed: Callable[[], int] = _elapsed_ns,
    ) -> None:
        self._connection = connection
        self._pace = pace
        self._machine = machine
        self._elapsed = elapsed
        self._first_reading = asyncio.Event()
        self._offset = 0
        """The database's Unix time minus the elapsed time."""
        self._error = 0
        self._exact_at = 0
        """The elapsed time at which the offset was exact to `_error`."""
        self._latest = 0
        self._read_at = 0
        self._looked_at = elapsed()
        self._machine_offset = 0
        self._logged_at: int | None = None
        self._failing = False

    @property
    def is_read(self) -> bool:
        """Whether `now` follows the database's clock."""
        return self._first_reading.is_set()

    @property
    def difference(self) -> timedelta | None:
        """How far the machine's clock is ahead of the database's. None before the first reading."""
        if not self.is_read:
            return None
        return timedelta(microseconds=(self._machine() - self._elapsed() - self._offset) // 1000)

    @property
    def error(self) -> timedelta | None:
        """The largest error of `now` as a reading of the database's clock. None before the first reading."""
        return timedelta(microseconds=-(-self._error_at(self._elapsed()) // 1000)) if self.is_read else None

    def now(self) -> datetime:
        """The current instant, in UTC."""
        if not self.is_read:
            return _moment(self._machine())
        self._latest = max(self._latest, self._elapsed() + self._offset)
        return _moment(self._latest)

    async def read(self) -> bool:
        """Reads the database's clock. False if it cannot be read now; the former reading then stays."""
        return await self._read() is None

    async def _read(self) -> Exception | None:
        try:
            async with self._connection() as connection:
                before = self._elapsed()
                there: datetime = await connection.fetchval("SELECT clock_timestamp()")
                after = self._elapsed()
        except Exception as error:
            return error
        self._take(before, _nanoseconds(there), after)
        return None

    async def first_reading(self) -> None:
        """Returns when the clock has been read, by `run` or `read`."""
        await self._first_reading.wait()

    async def run(self) -> None:
        """Reads the clock until cancelled."""
        while True:
            if self._must_read():
                self._report_failure(await self._read())
            self._report_difference()
            self._looked_at = self._elapsed()
            await _pause(self._pace.look_every)

    def _must_read(self) -> bool:
        if not self.is_read:
            return True
        elapsed = self._elapsed()
        exact = self._error_at(elapsed) <= _EXACT
        if elapsed - self._read_at >= self._pace.read_every * _SECOND * (1 if exact else 0.1):
            return True
        stood_still = elapsed - self._looked_at > (self._pace.look_every + 10) * _SECOND
        # Also what no elapsed time shows: a virtual machine that was paused, and then set right from outside.
        jumped = abs(self._machine() - elapsed - self._machine_offset) > _STEP
        return stood_still or jumped

    def _take(self, before: int, there: int, after: int) -> None:
        offset, error = there - (before + after) // 2, (after - before + 1) // 2
        self._read_at = after
        self._machine_offset = self._machine() - after
        if self.is_read:
            known = self._error_at(after)
            correction = offset - self._offset
            is_consistent = abs(correction) <= known + error
            if is_consistent and known <= error:
                return
            if not is_consistent and abs(correction) > _STEP:
                _log.warning("clock.stepped", seconds=round(correction / _SECOND, 3))
                self._latest = 0
        self._offset, self._error, self._exact_at = offset, error, before
        self._first_reading.set()

    def _error_at(self, elapsed: int) -> int:
        return self._error + (elapsed - self._exact_at) // _DRIFT

    def _report_failure(self, error: Exception | None) -> None:
        """Logs the first of several failures."""
        if error is not None and not self._failing:
            used = "the last reading" if self.is_read else "the machine's clock"
            _log.warning("clock.not_read", used=used, error=error_text(error))
        self._failing = error is not None

    def _report_difference(self) -> None:
        """Logs a machine's clock that is wrong: at once, and again every ten minutes."""
        difference = self.difference
        if difference is None:
            return
        elapsed = self._elapsed()
        if abs(difference) > MOST_DIFFERENCE:
            if self._logged_at is None or elapsed - self._logged_at >= _LOG_AGAIN:
                _log.error(
                    "clock.differs",
                    seconds=round(difference.total_seconds(), 1),
                    hint="the machine's clock is wrong, or the database's: let both follow a time server (NTP)",
                )
                self._logged_at = elapsed
        elif self._logged_at is not None:
            _log.info("clock.agrees", seconds=round(difference.total_seconds(), 1))
            self._logged_at = None


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _moment(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
