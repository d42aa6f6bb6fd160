"""The data directory: a lock for one running system at a time, and a file with its settings for other commands."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from dotenv import dotenv_values

from infrastructure.embedded.errors import EmbeddedError
from infrastructure.embedded.secrets import write_private


@contextlib.contextmanager
def owned(data: Path) -> Iterator[Path]:
    """Creates and locks the data directory. Raises `EmbeddedError` if another `convene up` has locked it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        for name in ("logs", "mail"):
            (data / name).mkdir(mode=0o700, exist_ok=True)
        lock = (data / "lock").open("a+")
    except OSError as error:
        raise EmbeddedError(
            f"{error.filename} cannot be used ({error.strerror}): start as its owner, or choose another --data"
        ) from None
    with lock:
        _take(lock, data)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        try:
            yield data.resolve()
        finally:
            (data / "run.env").unlink(missing_ok=True)


def _take(lock: IO[str], data: Path) -> None:
    """Tries twice, because a command that checks for a running system holds the lock for an instant."""
    for remaining in (1, 0):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if remaining:
                time.sleep(0.2)
                continue
            lock.seek(0)
            pid = lock.read(20).strip() or "unknown"
            raise EmbeddedError(
                f"a system already runs in {data} (process {pid}): stop it, or choose another --data"
            ) from None
        return


def publish(data: Path, environ: Mapping[str, str]) -> None:
    """Writes `<data>/run.env`, by which other commands find the running system. It is deleted at the end."""
    write_private(data / "run.env", environ)


def running_environ(data: Path) -> dict[str, str]:
    """The settings of the system that runs in this data directory; empty if none runs, also if a killed one has left
    its file."""
    try:
        with (data / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return {name: value for name, value in dotenv_values(data / "run.env").items() if value}
    except OSError:
        pass
    return {}
