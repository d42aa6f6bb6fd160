"""Other dates: the wall clock shifted, for one process or for all processes that it starts.

`everywhere` compiles a library that is loaded before the C library (LD_PRELOAD), so it reaches PostgreSQL, Redis and
every process with the environment of `tests.support.command.bare_environ`. It needs a C compiler and Linux.
`in_process` is a plugin of pytest's that replaces Python's clock, for tests that start nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
PASSED_ON = ("LD_PRELOAD", "CLOCK_SHIFT")
"""What a process needs in its environment to have the shifted clock."""

DATES = {
    "the first of a month": "2027-05-01T08:00:00Z",
    "the last day with one digit": "2027-05-09T08:00:00Z",
    "the first day with two digits": "2027-05-10T08:00:00Z",
    "nine days before a day with one digit": "2027-05-26T08:00:00Z",
    "the end of a short February": "2027-02-28T23:45:00Z",
    "nine days before a leap day": "2028-02-20T12:00:00Z",
    "a leap day": "2028-02-29T12:00:00Z",
    "ten minutes before a year": "2027-12-31T23:50:00Z",
    "a minute before a year": "2027-12-31T23:59:00Z",
    "daylight saving time begins in Europe": "2027-03-28T00:59:30Z",
    "daylight saving time ends in Europe": "2027-10-31T00:59:30Z",
    "daylight saving time begins in America": "2027-03-14T06:59:30Z",
    "daylight saving time ends in America": "2027-11-07T05:59:30Z",
}


def seconds_until(moment: str) -> int:
    return round((datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds())


@cache
def shim() -> Path:
    """The library to preload, compiled once for each test process."""
    assert sys.platform == "linux", "a clock shifted for all processes needs Linux"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a clock shifted for all processes needs a C compiler on the PATH: apt install gcc"
    # Servers run as another user, who cannot enter pytest's directories.
    directory = Path(tempfile.mkdtemp(prefix="clock-", dir="/tmp"))
    directory.chmod(0o755)
    library = directory / "clock_shift.so"
    source = Path(__file__).with_name("shim.c")
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return library


def everywhere(moment: str) -> dict[str, str]:
    """The environment in which processes, and those they start, begin at this moment."""
    return {**os.environ, "LD_PRELOAD": str(shim()), "CLOCK_SHIFT": str(seconds_until(moment))}


def in_process(moment: str) -> dict[str, str]:
    """The same for Python's clock alone; goes with the option `-p tests.support.shifted_clock.in_process`."""
    return {**os.environ, "CLOCK_SHIFT": str(seconds_until(moment))}


def run_tests(arguments: Iterable[str], environ: dict[str, str], *, minutes: float = 10) -> None:
    """A run of pytest in a process of its own; fails with the end of its output."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=environ | {"PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=60 * minutes,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
