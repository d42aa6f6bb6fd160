"""A streaming replica of an embedded PostgreSQL."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from infrastructure.embedded import EmbeddedPostgres, placement, processes
from tests.support.servers import temporary_directory


class Replica:
    """Started by `start`, and again after `stop`."""

    def __init__(self, directory: Path, primary: EmbeddedPostgres) -> None:
        self._directory = directory
        self._account = placement.server_account(primary.data)
        self._bin = primary._binaries()
        copied = processes.run(
            [
                *(self._bin / "pg_basebackup", "-h", primary.run, "-U", "postgres", "-D", directory / "replica"),
                *("-R", "-X", "stream", "--checkpoint=fast", "--no-sync"),
            ],
            account=self._account,
            environ={"PATH": os.defpath, "LC_ALL": "C"},
        )
        assert copied.returncode == 0, copied.stderr
        self._primary = primary
        self.start()

    def dsn(self, database: str) -> str:
        return self._primary.dsn(database).replace(quote(str(self._primary.run)), quote(str(self._directory)))

    def start(self) -> None:
        cluster = self._directory / "replica"
        self._process = processes.spawn(
            [
                *(self._bin / "postgres", "-D", cluster, "-k", self._directory),
                *("-c", "listen_addresses=", "-c", "fsync=off", "-c", "hot_standby_feedback=on"),
            ],
            log=self._directory / "replica.log",
            account=self._account,
        )
        state = cluster / "postmaster.pid"

        def serves() -> bool:
            lines = state.read_text().splitlines() if state.exists() else []
            return len(lines) >= 8 and lines[0].strip() == str(self._process.pid) and lines[7].strip() == "ready"

        assert processes.wait_until(serves, 60), (self._directory / "replica.log").read_text()[-2000:]

    def stop(self) -> None:
        """At once, as after a failure of its machine."""
        processes.stop(self._process, (signal.SIGQUIT, 10))


@contextlib.contextmanager
def running_replica(primary: EmbeddedPostgres) -> Iterator[Replica]:
    with temporary_directory(durable=False) as directory:
        replica = Replica(directory, primary)
        try:
            yield replica
        finally:
            replica.stop()
