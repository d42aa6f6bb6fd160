"""`python -m crm serve`, `python -m crm migrate` and `python -m crm openapi`."""

from __future__ import annotations

import argparse
import asyncio
import functools
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import asyncpg
import msgspec
import uvicorn
from alembic.util.exc import CommandError
from asyncpg.exceptions import InterfaceError
from litestar import Litestar
from sqlalchemy.exc import SQLAlchemyError
from uvicorn.supervisors import Multiprocess

from crm import migrations
from crm.api.errors import connection_error
from crm.api.middleware import SECURITY_HEADERS
from crm.api.openapi import document
from crm.app import create_app
from crm.schema_version import SCHEMA_VERSION
from crm.settings import CrmSettings, SettingsError, load_direct_database_url, load_settings
from servicekit.http_server import prepare, server_options
from servicekit.logging import configure_logging
from servicekit.migrations import MigrationBlocked
from servicekit.pooler import ANY_POOLER, Pooler
from servicekit.schema_version import SchemaVersion
from servicekit.settings_reader import load_env_file
from servicekit.tasks import LongLivedTasks, end_process, exit_status
from servicekit.time_zones import use_newest_time_zones

OLDEST_POSTGRES = 16
GRACE_SECONDS = 10
HEALTH_CHECK_SECONDS = 30
DRAWING = {
    "CRM_DATABASE_URL": "postgresql://none@localhost/none",
    "CRM_BEARER_TOKEN": "none",
    "CONVENE_EMBEDDED": "1",
}
"""Enough to put the application together and describe it; nothing of it is opened."""


class StartError(Exception):
    """The service cannot start. The message is one line that says what and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 when something outside is wrong, 2 for a wrong setting or argument."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    use_newest_time_zones()
    try:
        load_env_file(Path(".env"))
        if options.command == "openapi":
            _openapi(options.output)
            return 0
        settings = load_settings(os.environ)
        configure_logging(settings.log_level)
        if options.command == "migrate":
            _migrate(load_direct_database_url(os.environ), options.revision)
        else:
            _serve(settings, options)
    except (SettingsError, StartError) as error:
        sys.stderr.write(f"crm: {error}\n")
        return 1 if isinstance(error, StartError) else 2
    return 0


def served_app() -> Litestar:
    """The application as each serving process makes it; a process of several ends with the one that started it."""
    settings = load_settings(os.environ)
    configure_logging(settings.log_level)
    if parent := multiprocessing.parent_process():

        def end_with_parent() -> None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=end_with_parent, daemon=True).start()
    return create_app(settings, tasks=LongLivedTasks(end_process))


def http_protocol(**arguments: Any) -> Any:
    """One connection of this serving process."""
    return _protocol()(**arguments)


@functools.cache
def _protocol() -> Any:
    return server_options(load_settings(os.environ).http, connection_error, headers=SECURITY_HEADERS)["http"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m crm", description="The facilitators' CRM service.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve HTTP requests and deliver mails")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=_port, default=5001, help="port to listen on (5001)")
    serve.add_argument("--fd", type=int, help="an open listening socket to serve instead of host and port")
    serve.add_argument("--workers", type=_workers, default=1, help="processes (1)")
    migrate = commands.add_parser("migrate", help="bring the database to the newest schema")
    migrate.add_argument("--revision", default="head", help="a schema instead of the newest, to restore a backup")
    openapi = commands.add_parser("openapi", help="write the OpenAPI 3.1 document; needs no settings and no database")
    openapi.add_argument("--output", type=Path, metavar="FILE", help="a file; otherwise it is printed")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 (any free one) to 65535")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes: give one from 1 to 64")
    return int(text)


def _leave(_: int, __: FrameType | None) -> NoReturn:
    """uvicorn raises the signal again after it has drained: then, and before it serves, this is a clean end, unless a
    task of the process has ended it."""
    raise SystemExit(exit_status())


def _migrate(dsn: str, revision: str) -> None:
    asyncio.run(_check_server(dsn))
    try:
        migrations.upgrade(dsn, revision, report=lambda sentence: sys.stderr.write(f"crm: {sentence}\n"))
    except MigrationBlocked as error:
        raise StartError(str(error)) from error
    except CommandError as error:
        raise StartError(f"the database has a schema this version does not know ({error}): update the CRM") from error
    except (SQLAlchemyError, asyncpg.PostgresError, OSError) as error:
        raise StartError(f"the migration failed, what was done before is kept: {_one_line(error)}") from error


def _openapi(output: Path | None) -> None:
    text = msgspec.json.format(msgspec.json.encode(document(create_app(load_settings(DRAWING)))), indent=2).decode()
    if output is None:
        sys.stdout.write(text + "\n")
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StartError(f"cannot write {output}: {error.strerror}; choose another --output") from error


def _serve(settings: CrmSettings, options: argparse.Namespace) -> None:
    asyncio.run(_check_server(settings.database_url, schema=SCHEMA_VERSION, pooler=settings.pooler))
    listener = _listener(options)
    listeners = prepare(listener, settings.http)
    config = uvicorn.Config(
        "crm.__main__:served_app",
        factory=True,
        workers=options.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # The parent kills a process that does not answer in time. On a busy machine the imports take longer than 5 s.
        timeout_worker_healthcheck=HEALTH_CHECK_SECONDS,
        # Names, not objects: each serving process imports what they stand for while it already answers its parent.
        http="crm.__main__:http_protocol",
        ws="none",
    )
    with listener:
        if options.workers > 1:
            with tempfile.TemporaryDirectory(prefix="crm-metrics-") as directory:
                os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", directory)
                Multiprocess(config, sockets=listeners).run()
        else:
            server = uvicorn.Server(config)
            server.run(sockets=listeners)
            if not server.started:
                raise StartError("the service did not start: see the log above")


def _listener(options: argparse.Namespace) -> socket.socket:
    if options.fd is not None:
        try:
            listener = socket.socket(fileno=options.fd)
        except OSError as error:
            raise StartError(f"--fd {options.fd} is not an open socket: {error.strerror}") from error
        listener.set_inheritable(True)
        return listener
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise StartError(
            f"cannot listen on {options.host}:{options.port}: {error.strerror}; choose another --host or --port"
        ) from error
    listener.set_inheritable(True)
    return listener


async def _check_server(dsn: str, schema: SchemaVersion | None = None, pooler: Pooler = ANY_POOLER) -> None:
    """Raises StartError unless a new enough PostgreSQL answers, reached as `pooler` says, with a schema this code can
    use where one is given."""
    connect: Any = asyncpg.connect
    options = Pooler(pooler.transactions, prepared_statements=False).connect_options({"lock_timeout": "5s"})
    try:
        connection = await connect(dsn, timeout=5, **options)
    except asyncpg.ProtocolViolationError as error:
        raise StartError(
            f"CRM_DATABASE_URL leads to a pooler ({_one_line(error)}): set DATABASE_POOLER=transaction"
        ) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, InterfaceError, ValueError) as error:
        raise StartError(
            f"cannot reach the database of CRM_DATABASE_URL ({_one_line(error)}): start it, or correct the setting"
        ) from error
    try:
        if connection.get_server_version().major < OLDEST_POSTGRES:
            raise StartError(f"the database server is too old: PostgreSQL {OLDEST_POSTGRES} or newer is needed")
        if schema is None:
            return
        fit = await schema.fit(connection)
        if not fit.usable:
            raise StartError(f"CRM_DATABASE_URL: {fit.sentence}")
        if fit.sentence:
            sys.stderr.write(f"crm: CRM_DATABASE_URL: {fit.sentence}\n")
    finally:
        await connection.close()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
