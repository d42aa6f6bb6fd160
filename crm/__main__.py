"""`python -m crm serve`, `python -m crm migrate` and `python -m crm openapi`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from crm.schema_version import SCHEMA_VERSION
from crm.server_check import StartError, check_server
from crm.settings import CrmSettings, SettingsError, load_direct_database_url, load_settings
from servicekit.process import begin_start, exit_status
from servicekit.settings_reader import load_env_file
from servicekit.time_zones import use_newest_time_zones


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
        if options.command == "migrate":
            _migrate(settings, load_direct_database_url(os.environ), options.revision)
        else:
            _serve(settings, options)
    except (SettingsError, StartError) as error:
        sys.stderr.write(f"crm: {error}\n")
        return 1 if isinstance(error, StartError) else 2
    return 0


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


def _migrate(settings: CrmSettings, dsn: str, revision: str) -> None:
    asyncio.run(check_server(dsn))
    # What runs the revisions takes more than a second to import.
    if revision == "head" and asyncio.run(SCHEMA_VERSION.fit_of(dsn)).current:
        return
    from crm.commands import migrate

    migrate(dsn, revision, settings.log_level)


def _openapi(output: Path | None) -> None:
    from crm.commands import description

    text = description() + "\n"
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartError(f"cannot write {output}: {error.strerror}; choose another --output") from error


def _serve(settings: CrmSettings, options: argparse.Namespace) -> None:
    asyncio.run(check_server(settings.database_url, schema=SCHEMA_VERSION, pooler=settings.pooler))
    listener = _listener(options)
    begin_start()

    from crm.serving import serve

    serve(settings, listener, workers=options.workers)


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


if __name__ == "__main__":
    sys.exit(main())
