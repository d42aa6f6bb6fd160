"""Supervisor of child processes: restarts them, and stops all of them at its end."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from infrastructure.embedded import processes
from infrastructure.embedded.errors import EmbeddedError
from infrastructure.embedded.log_files import LARGEST_LOG, rotate

_TRIES_AT_START = 3
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_STEADY = 30.0
"""Seconds after which a child counts as stable: its next restart is after the shortest pause again."""
_STOP_BUDGET = 10.0
"""Seconds for stopping all services; the remaining ones are then killed."""


class Service(Protocol):
    """A supervised process: a server or a Python child. `start` raises `EmbeddedError`."""

    @property
    def name(self) -> str: ...
    @property
    def log(self) -> Path | None: ...
    @property
    def pid(self) -> int | None: ...
    def start(self) -> None: ...
    def poll(self) -> int | None: ...
    def stop(self) -> None: ...


@dataclass(eq=False)
class Child:
    """A child process of Convene: stopped by SIGTERM, killed after `patience` seconds."""

    name: str
    argv: Sequence[str | Path]
    environ: Mapping[str, str]
    log: Path | None = None
    pass_fds: Sequence[int] = ()
    patience: float = 8.5
    _process: subprocess.Popen[bytes] | None = None
    _asked: bool = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        if self._process:
            processes.stop(self._process)  # with the processes that it has started
        self._asked = False
        self._process = processes.spawn(
            self.argv, log=self.log, environ=self.environ, pass_fds=self.pass_fds, cwd=Path.cwd()
        )

    def poll(self) -> int | None:
        return self._process.poll() if self._process else 0

    def stop(self) -> None:
        if self._process:
            self.ask_to_stop()
            processes.wait_for_exit(self._process, self.patience)
            processes.stop(self._process)
            self._process = None

    def ask_to_stop(self) -> None:
        """Sends the stop signal once: a second one would interrupt a graceful shutdown."""
        if self._process and self._process.poll() is None and not self._asked:
            self._process.terminate()
            self._asked = True


@dataclass(eq=False)
class _Watched:
    service: Service
    started: float = 0.0
    pause: float = _FIRST_PAUSE
    due: float | None = None
    ends: int = 0


class Stopped(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived. Not an Exception: no handler of errors may swallow it."""


@dataclass
class Supervisor:
    """Starts services in order, restarts those that end, stops the children together and then the servers.

    Use it as a context manager in the main thread: it takes over SIGINT, SIGTERM and SIGHUP. The first of them raises
    Stopped in the body, a second one while stopping kills what is left.
    """

    say: Callable[[str], None]
    largest_log: int = LARGEST_LOG
    """Bytes, after which a log file is rotated."""
    look_at_logs: float = 10.0
    """Seconds between two looks at the sizes of the log files."""
    _logs_due: float = 0.0
    _watched: list[_Watched] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _wake: int = -1
    _stopping: bool = False

    def __enter__(self) -> "Supervisor":
        self._wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if sys.platform == "linux" else _pipe()
        self._stack.callback(os.close, self._wake)
        self._stack.callback(os.close, write)
        self._stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write, warn_on_full_buffer=False))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._stack.callback(signal.signal, number, signal.signal(number, self._on_signal))
        # A handler, though an empty one: the default disposition of SIGCHLD would not write to the pipe.
        self._stack.callback(signal.signal, signal.SIGCHLD, signal.signal(signal.SIGCHLD, lambda *_: None))
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self.say("stopping")
        try:
            self._stop_all()
        finally:
            self._stack.close()

    def start(self, service: Service) -> None:
        """Starts and supervises a service. Blocks until a server responds."""
        watched = _Watched(service, started=time.monotonic())
        self._watched.append(watched)
        service.start()

    def wait_until(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Supervises until `ready` returns True. Raises `EmbeddedError` if a child ends repeatedly or the time is
        over."""
        deadline = time.monotonic() + seconds
        while not ready():
            self._tick(starting=True)
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{what} did not answer within {seconds:.0f} s{self._hint(what)}")
            self._sleep(0.05)

    def watch(self) -> None:
        """Restarts ended processes and rotates their logs until a signal raises `Stopped`."""
        while True:
            self._tick(starting=False)
            now = time.monotonic()
            if now >= self._logs_due:
                self._logs_due = now + self.look_at_logs
                for log in {watched.service.log for watched in self._watched}:
                    if log is not None:
                        rotate(log, self.largest_log)
            soonest = min((w.due for w in self._watched if w.due is not None), default=self._logs_due)
            self._sleep(max(0.0, min(soonest, self._logs_due) - now))

    def _tick(self, *, starting: bool) -> None:
        for watched in self._watched:
            now = time.monotonic()
            if watched.due is None:
                status = watched.service.poll()
                if status is None:
                    continue
                self._record_exit(watched, f"ended ({_describe(status)})", now, starting=starting)
            elif now >= watched.due:
                self._restart(watched, now, starting=starting)

    def _record_exit(self, watched: _Watched, what: str, now: float, *, starting: bool) -> None:
        if now - watched.started > _STEADY:
            watched.ends, watched.pause = 0, _FIRST_PAUSE
        watched.ends += 1
        name, log = watched.service.name, watched.service.log
        said = processes.last_line(log)
        if starting and watched.ends >= _TRIES_AT_START:
            raise EmbeddedError(f"{name} does not start, it {what}: {said or 'it said nothing'} (log: {log})")
        watched.due = now + watched.pause
        quoted = f', its last words: "{said}"' if watched.ends > 1 and said else ""
        self.say(f"{name} {what}; it starts again in {watched.pause:g} s{quoted}")
        watched.pause = min(watched.pause * 2, _LONGEST_PAUSE)

    def _restart(self, watched: _Watched, now: float, *, starting: bool) -> None:
        watched.due, watched.started = None, now
        try:
            watched.service.start()
        except EmbeddedError as error:
            self._record_exit(watched, f"could not be started: {error}", now, starting=starting)
        else:
            self.say(f"{watched.service.name} runs again (process {watched.service.pid})")

    def _stop_all(self) -> None:
        """Stops all children concurrently, because each may need most of the time to finish its work; then the servers,
        the last started first."""
        deadline = time.monotonic() + _STOP_BUDGET
        services = [watched.service for watched in reversed(self._watched)]
        children = [service for service in services if isinstance(service, Child)]
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.patience = max(0.5, min(child.patience, deadline - time.monotonic()))
            child.stop()
        for service in services:
            if service not in children:
                service.stop()
        self._watched.clear()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            raise Stopped
        for watched in self._watched:
            pid = watched.service.pid
            if pid is not None and watched.service.poll() is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)

    def _sleep(self, seconds: float) -> None:
        select.select([self._wake], [], [], seconds)
        with suppress(BlockingIOError):
            while os.read(self._wake, 512):
                pass

    def _hint(self, what: str) -> str:
        for watched in self._watched:
            if _kind(watched.service) == what.lower() and watched.service.log:
                said = processes.last_line(watched.service.log)
                return f': "{said}" (log: {watched.service.log})' if said else f" (log: {watched.service.log})"
        return ""


def _kind(service: Service) -> str:
    return service.name.partition("-")[0]


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write
