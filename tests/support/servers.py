"""Real servers for tests, in directories of their own, ended with the test run even when it is killed."""

import atexit
import contextlib
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis
from infrastructure.embedded.placement import cluster_directory
from infrastructure.embedded.processes import unprivileged_account

POSTGRES_VERSION = int(os.environ.get("TEST_POSTGRES_VERSION", "18"))
"""The version of PostgreSQL that the tests run on, 18 or 16."""


_MEMORY = Path("/dev/shm")
_ENOUGH = 4 << 30
"""Bytes free, from which on servers that need not be durable are in memory: deleting the files of a thousand databases
takes a minute of a disk's time."""


def _place(durable: bool) -> Path:
    if not durable and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ENOUGH:
        return _MEMORY
    return Path("/tmp")


@contextlib.contextmanager
def temporary_directory(*, durable: bool = True) -> Iterator[Path]:
    """A short directory that an unprivileged server may enter (pytest's own is closed to everyone but root); on a disk
    if it is to be `durable`."""
    directory = Path(tempfile.mkdtemp(prefix="ct-", dir=_place(durable)))
    account = unprivileged_account()
    if account:
        os.chown(directory, account.uid, account.gid)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


_kept = contextlib.ExitStack()
atexit.register(_kept.close)


@cache
def _new_cluster(version: int) -> Path:
    """A cluster as the product makes it, to copy: initdb takes 0.6 s of CPU."""
    directory = _kept.enter_context(temporary_directory(durable=False))
    server = EmbeddedPostgres(directory, directory, durable=False, version=version)
    server._account = unprivileged_account()
    cluster = cluster_directory(directory, server._account)
    server._initialise(cluster)
    return cluster


@contextlib.contextmanager
def running_postgres(
    *databases: str, durable: bool = False, version: int = POSTGRES_VERSION
) -> Iterator[EmbeddedPostgres]:
    """A fresh PostgreSQL; `databases` default to `convene` and `convene_crm`, both empty. Unless it is `durable` it
    answers before the disk has what it was given.

    `server.dsn("convene")` connects as the application's role, `server.superuser_dsn()` as the superuser.
    """
    with temporary_directory(durable=durable) as directory:
        shutil.copytree(_new_cluster(version), directory / "postgres")
        server = EmbeddedPostgres(
            directory,
            directory,
            databases=databases or ("convene", "convene_crm"),
            durable=durable,
            version=version,
        )
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def running_redis() -> Iterator[EmbeddedRedis]:
    """A fresh, empty Redis; `server.url` connects."""
    with temporary_directory() as directory:
        server = EmbeddedRedis(directory)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """A free TCP port of 127.0.0.1, below the range of outgoing connections."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
