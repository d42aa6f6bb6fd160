"""The system of a soak: servers, and processes that are started again when they end, as by systemd."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis, processes
from tests.support.callers import Address

RESTART_SECONDS = 2


class ServiceProcess:
    """A process of the product, which logs to a pipe that a thread copies to `<name>.log`.

    `environ` is read at each start. `reading` False: the pipe is not read, and its 64 KB fill.
    """

    def __init__(self, name: str, argv: list[str], environ: Mapping[str, str], logs: Path, *, listens: bool) -> None:
        self.name = name
        self.environ = dict(environ)
        self.starts = 0
        self.reading = threading.Event()
        self.reading.set()
        self._argv = argv
        self._ended_at: float | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048) if listens else None
        self._pipe = logs / f"{name}.pipe"
        os.mkfifo(self._pipe)
        # Open for both directions: the pipe has a reader and a writer while the process restarts.
        self._descriptor = os.open(self._pipe, os.O_RDWR)
        threading.Thread(target=self._copy, args=(logs / f"{name}.log",), daemon=True).start()
        self.start()

    @property
    def address(self) -> Address:
        assert self._listener
        address: Address = self._listener.getsockname()
        return address

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        fds = (self._listener.fileno(),) if self._listener else ()
        self._process: subprocess.Popen[bytes] = processes.spawn(
            [sys.executable, "-P", "-m", *self._argv, *map(str, fds)],
            log=self._pipe,
            environ=self.environ,
            pass_fds=fds,
        )
        self.starts += 1
        self._ended_at = None

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def restart_if_ended(self) -> None:
        if self._process.poll() is None:
            return
        self._ended_at = self._ended_at or time.monotonic()
        if time.monotonic() - self._ended_at >= RESTART_SECONDS:
            self.start()

    def stop(self) -> None:
        self.reading.set()
        self.send(signal.SIGCONT)
        processes.stop(self._process, (signal.SIGTERM, 15))

    def _copy(self, log: Path) -> None:
        with log.open("ab") as output:
            while True:
                self.reading.wait()
                with contextlib.suppress(OSError):  # a full disk
                    output.write(os.read(self._descriptor, 65536))
                    output.flush()


class Disk:
    """A memory disk of a bounded size at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        free = os.statvfs(self.path)
        with self._ballast.open("wb") as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)

    def clear(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted_disk(path: Path, megabytes: int) -> Iterator[Disk | None]:
    """None where mounting is not allowed."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", str(path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        yield None
        return
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], capture_output=True, check=False)


class System:
    """PostgreSQL, Redis, two API processes, two workers and a CRM; `maintain` starts again what has ended."""

    def __init__(self, postgres: EmbeddedPostgres, redis: EmbeddedRedis, services: list[ServiceProcess]) -> None:
        self.postgres = postgres
        self.redis = redis
        self.services = services

    def named(self, prefix: str) -> list[ServiceProcess]:
        return [each for each in self.services if each.name.startswith(prefix)]

    def maintain(self) -> None:
        for server in (self.postgres, self.redis):
            if server.poll() is not None:
                with contextlib.suppress(Exception):  # a disk that is still full: the next call tries again
                    server.start()
        for service in self.services:
            service.restart_if_ended()
