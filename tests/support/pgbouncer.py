"""PgBouncer in transaction mode, in front of a PostgreSQL of the tests."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from infrastructure.embedded import EmbeddedPostgres, processes
from infrastructure.embedded.processes import unprivileged_account
from tests.support.servers import temporary_directory
from tests.support.settings import Reached

SERVER_CONNECTIONS = 2
"""Connections of PgBouncer to PostgreSQL for each database."""

_CONFIGURATION = """\
[databases]
* = host={postgres} user=convene
[pgbouncer]
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
auth_type = any
listen_addr =
unix_socket_dir = {directory}
logfile = {log}
"""


@dataclass(frozen=True, slots=True)
class PgBouncer:
    directory: Path
    log: Path

    def in_front_of(self, dsn: str) -> str:
        """The address of that database by way of PgBouncer."""
        return f"postgresql://convene@/{make_url(dsn).database}?host={quote(str(self.directory))}&port=6432"

    def clients(self, dsn: str) -> int:
        """How many connections clients have opened to that database."""
        opened = f"{make_url(dsn).database}/convene@unix"
        return sum("login attempt" in line and opened in line for line in self.log.read_text().splitlines())


BEHIND_PGBOUNCER = {"DATABASE_POOLER": "transaction", "DATABASE_PREPARED_STATEMENTS": "false"}
"""For PgBouncer 1.18, as Debian 12 has it."""


@contextlib.contextmanager
def services_behind_pgbouncer(postgres: EmbeddedPostgres) -> Iterator[None]:
    """In a run with TEST_PGBOUNCER the services of all tests reach `postgres` by way of PgBouncer."""
    if not os.environ.get("TEST_PGBOUNCER"):
        yield
        return
    with running_pgbouncer(postgres) as running:
        Reached.settings, Reached.by = BEHIND_PGBOUNCER, running.in_front_of
        yield


@contextlib.contextmanager
def running_pgbouncer(
    postgres: EmbeddedPostgres, *, server_connections: int = SERVER_CONNECTIONS
) -> Iterator[PgBouncer]:
    """With so many connections to each database of `postgres`. The test fails if PgBouncer is not installed."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.fail(
            "no PgBouncer on the PATH: install it, on Debian and Ubuntu with: apt install pgbouncer", pytrace=False
        )
    with temporary_directory() as directory:
        configuration, log = directory / "pgbouncer.ini", directory / "pgbouncer.log"
        configuration.write_text(
            _CONFIGURATION.format(postgres=postgres.run, size=server_connections, directory=directory, log=log)
        )
        account = unprivileged_account()
        process = processes.spawn([program, "-q", configuration], log=directory / "output", account=account)
        try:
            socket = directory / ".s.PGSQL.6432"
            assert processes.wait_until(socket.exists, 10), (directory / "output").read_text()
            yield PgBouncer(directory, log)
        finally:
            processes.stop(process, (signal.SIGINT, 1))
