"""Lines for a standard stream of this process, written by a thread.

A disk may be full, the reader of a pipe may have ended or may never read. A line is therefore put into a bounded queue;
a daemon thread writes it. What cannot be queued or written is counted by its reason. Neither blocks the caller, and no
error reaches it.
"""

import atexit
import errno
import os
import select
import stat
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal
from weakref import WeakSet

REASONS = ("full", "no_space", "closed", "failed", "repeated")
"""Why a line was not written: the queue was full, the disk was full, the stream has no reader or is closed, another
error, or too many errors of its kind."""

EXIT_SECONDS = 1.0
"""Longest wait for the queue at the end of the process."""

_GATHER_SECONDS = 0.01
"""The thread waits this long after the first line, so that one write takes many lines."""
_WAIT_SECONDS = 1.0
_PIPE_BYTES = select.PIPE_BUF
"""A pipe that `poll` reports as writable takes so many bytes without blocking, and does not mix them with those of
another process."""
_FILE_BYTES = 64 * 1024

_REASONS = {
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EFBIG: "no_space",
    errno.EPIPE: "closed",
    errno.EBADF: "closed",
    errno.ECONNRESET: "closed",
}
_DESCRIPTORS = {"stdout": 1, "stderr": 2}


class LineWriter:
    """Writes lines to `sys.stdout` or `sys.stderr` of the moment.

    The stream that the process was started with is written by the thread, through its descriptor. One that replaces it
    in this process, such as a buffer of a test, is written at once. The queue holds `max_lines` and `max_bytes`; when
    it is full the newest line is dropped. `note` makes the line that reports dropped lines, by reason, as soon as a
    line can be written again.
    """

    def __init__(
        self,
        name: Literal["stdout", "stderr"],
        *,
        note: Callable[[Mapping[str, int]], str] | None = None,
        max_lines: int = 10_000,
        max_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        self._name = name
        self._descriptor = _DESCRIPTORS[name]
        self._note = note
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._dropped: Counter[str] = Counter()
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        # Reentrant: the garbage collector may end an object that logs while this thread holds the lock.
        self._lock = threading.RLock()
        self._wake = threading.Lock()  # Held while there is nothing to write.
        self._wake.acquire()
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._taken = 0
        self._thread: threading.Thread | None = None
        self._unreported: Counter[str] = Counter()
        self._is_torn = False

    @property
    def dropped(self) -> Mapping[str, int]:
        """The number of lines that were not written, by reason."""
        return {reason: self._dropped[reason] for reason in REASONS}

    def drop(self, reason: str, lines: int = 1) -> None:
        with self._lock:
            self._dropped[reason] += lines
            if reason != "repeated":  # The next line of the kind reports it.
                self._unreported[reason] += lines

    def write(self, line: str) -> None:
        """Writes the line, which ends in a newline."""
        try:
            stream, original = getattr(sys, self._name), getattr(sys, f"__{self._name}__")
            if stream is not None and stream is not original:
                stream.write(line)
                stream.flush()
            elif original is None:
                # The process was started with the descriptor closed: it may now belong to a file or a connection.
                self.drop("closed")
            else:
                self._put(line.encode("utf-8", "backslashreplace"))
        except Exception:
            self.drop("failed")

    def flush(self, seconds: float = EXIT_SECONDS) -> bool:
        """Waits until the queue is written, for at most that time. Returns whether it is."""
        deadline = time.monotonic() + seconds
        while self._queue or self._taken:
            if self._thread is None or not self._thread.is_alive() or time.monotonic() >= deadline:
                return False
            time.sleep(_GATHER_SECONDS / 2)
        return True

    def _put(self, data: bytes) -> None:
        with self._lock:
            if len(self._queue) + self._taken >= self._max_lines or self._bytes + len(data) > self._max_bytes:
                self.drop("full")
                return
            self._queue.append(data)
            self._bytes += len(data)
            if not self._has_thread():
                self._drain(wait=0)
                return
        with suppress(RuntimeError):  # It is released already.
            self._wake.release()

    def _has_thread(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"{self._name} writer", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:  # no more threads
                self._thread = None
        return self._thread is not None

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            time.sleep(_GATHER_SECONDS)
            self._drain(wait=_WAIT_SECONDS)

    def _drain(self, *, wait: float) -> None:
        size = _FILE_BYTES if self._is_file() else _PIPE_BYTES
        while lines := self._take(size):
            try:
                if self._send(b"".join(lines), size, wait):
                    self._report(size, wait)
                else:
                    self.drop("full", len(lines))
            except OSError as error:
                self.drop(_REASONS.get(error.errno or 0, "failed"), len(lines))
            except Exception:
                self.drop("failed", len(lines))
            finally:
                with self._lock:
                    self._taken = 0
                    self._bytes -= sum(map(len, lines))

    def _is_file(self) -> bool:
        try:
            return stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        except OSError:
            return False

    def _take(self, size: int) -> list[bytes]:
        """The first line, and those after it that fit into one write."""
        with self._lock:
            lines: list[bytes] = []
            room = size
            while self._queue and (not lines or len(self._queue[0]) <= room):
                lines.append(self._queue.popleft())
                room -= len(lines[-1])
            self._taken = len(lines)
            return lines

    def _send(self, data: bytes, size: int, wait: float) -> bool:
        """Writes it all. Waits without end for a stream that takes nothing more, unless `wait` is 0: then it returns
        False. Raises OSError."""
        rest = memoryview(b"\n" + data if self._is_torn else data)
        begun = False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        try:
            while rest:
                ready = poll.poll(wait * 1000)
                if ready and ready[0][1] & select.POLLNVAL:
                    raise OSError(errno.EBADF, "the stream is closed")
                if ready:
                    try:
                        rest = rest[os.write(self._descriptor, rest[:size]) :]
                        begun = True
                        continue
                    except BlockingIOError:  # The descriptor does not block, and another process filled the pipe.
                        time.sleep(min(wait, 0.05))
                if not wait:
                    return False
        finally:
            # The rest of a line is lost: what is written next begins on a line of its own.
            self._is_torn = bool(rest) and (begun or self._is_torn)
        return True

    def _report(self, size: int, wait: float) -> None:
        with self._lock:
            lost, self._unreported = self._unreported, Counter()
        if lost and self._note is not None:
            is_written = False
            with suppress(OSError):
                is_written = self._send(self._note(lost).encode(), size, wait)
            if not is_written:
                with self._lock:
                    self._unreported += lost


_writers: WeakSet[LineWriter] = WeakSet()


def _end_all() -> None:
    for writer in list(_writers):
        writer.flush()


def _after_fork() -> None:
    """In the new process: its parent writes what was queued before."""
    for writer in list(_writers):
        writer._reset()
        writer._dropped.clear()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_after_fork)
