"""The start and the end of a process that serves. Imports nothing but the standard library."""

import ctypes
import gc
import os
import signal
import sys

TASK_ENDED = 70
"""Exit status of a process that a task's end has ended (EX_SOFTWARE of sysexits.h)."""

_UNUSED = ("pydantic", "pygments", "rich", "watchfiles")
"""Imported where they are installed: the first one by litestar and advanced-alchemy, the others by structlog, httpx and
uvicorn, for coloured output and for restarts when a file changes. 0.15 s of CPU and 10 MB of each process."""

_LARGE_BLOCK = 4 * 1024 * 1024
"""Bytes. A block of that size is given back to the system when it is freed."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_exit_status = 0


def begin_start(*unused: str) -> None:
    """Before a process imports its parts. Until `complete_start` no garbage is collected: nearly all that is imported
    stays, and looking through it again and again took a sixth of the CPU of a start.

    `unused`: packages that a library imports where they are installed, and that this process has no use for. From now
    on they cannot be imported, which the library takes for not installed."""
    gc.disable()
    for name in (*_UNUSED, *unused):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # The import system takes None for a missing module.
    _give_large_blocks_back()


def complete_start() -> None:
    """After the parts are made. Later collections leave out what there is now: looking through it would stop all
    requests for 0.1 s."""
    gc.freeze()
    gc.enable()


def end_process() -> None:
    """Ends this process as SIGTERM does, but with the exit status `TASK_ENDED`."""
    global _exit_status  # noqa: PLW0603
    _exit_status = TASK_ENDED
    os.kill(os.getpid(), signal.SIGTERM)


def exit_status() -> int:
    """The exit status of this process after SIGTERM."""
    return _exit_status


def _give_large_blocks_back() -> None:
    """By default glibc keeps a block in the heap of its thread if one as large was freed before: 20 MB for each thread
    that has ever hashed a password. The price is 12 ms for each hash, in which the system clears its memory anew. Other
    C libraries are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            mallopt(option, _LARGE_BLOCK)
