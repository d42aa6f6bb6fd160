"""Log files of child processes, kept from growing while the processes write to them."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

LARGEST_LOG = 20_000_000
"""Bytes."""


def rotate(log: Path, largest: int = LARGEST_LOG) -> None:
    """Copies a log that is larger to `NAME.log.1` and empties it.

    A process keeps its file open and appends to it, so the file itself stays. Lines that arrive between the last copy
    and the emptying are lost. A copy that fails, for example on a full disk, does not keep the log from being emptied.
    """
    previous = Path(f"{log}.1")
    with suppress(OSError):
        if log.stat().st_size <= largest:
            return
        with suppress(OSError):
            previous.unlink(missing_ok=True)  # gives its space to the copy
            _copy(log, previous)
        os.truncate(log, 0)


def _copy(log: Path, previous: Path) -> None:
    try:
        with log.open("rb") as source, previous.open("xb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
    except OSError:
        previous.unlink(missing_ok=True)
        raise
