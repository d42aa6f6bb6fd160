"""The environment of a command: its own settings, else those of the running system."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infrastructure.embedded.data_directory import running_environ
from infrastructure.settings import load_database_url, load_pooler

if TYPE_CHECKING:
    from infrastructure.postgres.engine import Database


def data_directory() -> Path:
    """CONVENE_DATA, by default `var/` in the current directory."""
    return Path(os.environ.get("CONVENE_DATA") or "var").absolute()


def command_environ() -> dict[str, str]:
    """The environment of the process (with `.env`), which overrides the settings of the system in the data
    directory."""
    given = {name: value for name, value in os.environ.items() if value}
    running = running_environ(data_directory())
    for name in list(running):
        if f"{name}_FILE" in given:
            del running[name]
    return running | given


def command_database() -> "Database":
    """The database of a command that needs no other setting, with one connection at a time."""
    from infrastructure.postgres.engine import Database

    environ = command_environ()
    return Database(load_database_url(environ), pool_size=1, pooler=load_pooler(environ))


@contextlib.contextmanager
def shared_metrics_directory(environ: Mapping[str, str], processes: int) -> Iterator[dict[str, str]]:
    """The environment for API processes behind one address: the directory of their common metrics."""
    with contextlib.ExitStack() as leaving:
        if processes > 1:
            directory = leaving.enter_context(tempfile.TemporaryDirectory(prefix="convene-metrics-"))
            environ = {**environ, "PROMETHEUS_MULTIPROC_DIR": directory}
        yield dict(environ)
