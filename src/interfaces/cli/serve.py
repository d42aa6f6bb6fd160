"""`convene api`, `worker` and `crm`: the processes that serve, one command each."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import click

from infrastructure.settings import Settings, load_settings
from interfaces.cli.database_watch import start_database_watch
from interfaces.cli.environment import command_environ, shared_metrics_directory
from interfaces.cli.sockets import adopt, listen
from servicekit.process import begin_start, complete_start, end_process, exit_status

_PORT = click.IntRange(0, 65535)
_HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
_FD = click.option(
    "--fd", type=click.IntRange(min=0), help="File descriptor of a listening socket of the parent process."
)


@click.command()
@_HOST
@click.option("--port", type=_PORT, default=5000, show_default=True, help="Port; 0 selects a free one.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Number of processes.")
@_FD
def api(host: str, port: int, workers: int, fd: int | None) -> None:
    """Serve the booking API."""
    environ = command_environ()
    settings = load_settings(environ)
    listener = listen(host, port, "--port") if fd is None else adopt(fd)
    if fd is None:
        start_database_watch(settings.database_url, settings.pooler)
    if workers > 1:
        _serve_with_processes(listener.fileno(), workers, environ)
        return
    os.environ.update(environ)
    _exit_cleanly_on_sigterm()
    begin_start()

    from interfaces.cli.server import http_limits, serve
    from interfaces.http.app import create_app
    from servicekit.tasks import LongLivedTasks

    def make_app(draining: Callable[[], bool]) -> object:
        app = create_app(settings, draining, LongLivedTasks(end_process))
        complete_start()
        return app

    served = serve(
        make_app,
        listener,
        drain=settings.drain_seconds,
        limits=http_limits(settings),
        log_level=settings.log_level,
    )
    if not served:
        sys.exit(3)


def _serve_with_processes(fd: int, workers: int, environ: dict[str, str]) -> None:
    from infrastructure.embedded.supervisor import Child, Stopped, Supervisor
    from servicekit.log_writer import LineWriter

    output = LineWriter("stderr")
    try:
        with (
            shared_metrics_directory(environ, workers) as environ_of_all,
            Supervisor(say=lambda line: output.write(line + "\n")) as supervisor,
        ):
            for number in range(1, workers + 1):
                argv = [sys.executable, "-P", "-m", "interfaces.cli", "api", "--fd", str(fd)]
                supervisor.start(Child(f"api-{number}", argv, environ_of_all, pass_fds=(fd,)))
            supervisor.watch()
    except Stopped:
        return


@click.command()
def worker() -> None:
    """Deliver messages to the CRM, by e-mail and to calendars, until the process is stopped."""
    environ = command_environ()
    settings = load_settings(environ)
    os.environ.update(environ)
    _exit_cleanly_on_sigterm()
    begin_start("litestar")  # imported by advanced-alchemy: 0.15 s of CPU and 8 MB

    from infrastructure.container.delivery import DeliveryParts, build_deliveries
    from interfaces.workers.main import run

    def build(settings: Settings) -> DeliveryParts:
        parts = build_deliveries(settings)
        complete_start()
        return parts

    run(settings, build)


@click.command()
@_HOST
@click.option("--port", type=_PORT, default=5001, show_default=True, help="Port; 0 selects a free one.")
@_FD
def crm(host: str, port: int, fd: int | None) -> NoReturn:
    """Serve the CRM, a separate service with its own database."""
    address = ["--host", host, "--port", str(port)] if fd is None else ["--fd", str(fd)]
    if fd is None:
        listen(host, port, "--port").close()
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "crm", "serve", *address], command_environ())  # noqa: S606


def _exit_cleanly_on_sigterm() -> None:
    """Makes SIGTERM end the process with status 0 when the server has drained and raises the signal again, or with
    another status if a task of the process has ended it."""

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(exit_status())

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
