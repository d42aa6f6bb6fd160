"""`convene up`: the whole system on this machine, watched until it is stopped."""

import http.client
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from infrastructure.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis, placement, processes
from infrastructure.embedded.data_directory import owned, publish
from infrastructure.embedded.log_files import LARGEST_LOG
from infrastructure.embedded.secrets import kept_secrets
from infrastructure.embedded.supervisor import Child, Stopped, Supervisor
from infrastructure.sample_login import FACILITATOR_EMAIL, FACILITATOR_PASSWORD
from infrastructure.settings import (
    SECRETS,
    Settings,
    SettingsError,
    load_database_url,
    load_direct_database_url,
    load_pooler,
    load_settings,
)
from interfaces.cli.env_file import setting_names
from interfaces.cli.environment import shared_metrics_directory
from interfaces.cli.sockets import listen
from servicekit.log_writer import LineWriter

_CLI = (sys.executable, "-P", "-m", "interfaces.cli")
SAMPLE_LOADED = "sample-data.loaded"
"""A file of the data directory: no sample data are added to its database."""
_OUTPUT = LineWriter("stdout")
_CRM = (sys.executable, "-P", "-m", "crm")
_VALID = {
    "DATABASE_URL": "postgresql://localhost/convene",
    "CRM_DATABASE_URL": "postgresql://localhost/convene_crm",
    "REDIS_URL": "redis://localhost",
}
"""Valid values in place of the addresses of embedded servers, to check all settings before these servers start."""


@dataclass(frozen=True)
class _Plan:
    api_port: int
    crm_port: int
    api_workers: int
    workers: int
    data: Path

    def log(self, name: str) -> Path:
        """Where the output goes; a log that has grown large makes room, its predecessor is kept as `NAME.log.1`."""
        log = self.data / "logs" / f"{name}.log"
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            log.replace(f"{log}.1")
        return log


@click.command()
@click.option("--api-port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="Port of the API.")
@click.option("--crm-port", type=click.IntRange(0, 65535), default=5001, show_default=True, help="Port of the CRM.")
@click.option("--data", type=click.Path(path_type=Path), help="Where everything is kept; default CONVENE_DATA or var/.")
@click.option("--api-workers", type=click.IntRange(1, 64), default=1, show_default=True, help="API processes.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Delivery processes.")
def up(api_port: int, crm_port: int, data: Path | None, api_workers: int, workers: int) -> None:
    """Start PostgreSQL, Redis, API, worker and CRM, and keep them running until Ctrl-C.

    Servers named by DATABASE_URL and REDIS_URL are used instead of embedded ones; every setting that is given wins.
    """
    given = {name: value for name, value in os.environ.items() if value}
    started = time.monotonic()
    with owned(data or Path(given.get("CONVENE_DATA", "var"))) as directory, ExitStack() as listening:
        plan = _Plan(api_port, crm_port, api_workers, workers, directory)
        # Bound before anything else: a taken port is said in the first moment, not after the servers are up.
        api_socket = listening.enter_context(listen("127.0.0.1", api_port, "--api-port"))
        crm_socket = listening.enter_context(listen("127.0.0.1", crm_port, "--crm-port"))
        _check_settings(plan, given)
        try:
            with shared_metrics_directory(given, api_workers) as given_all, Supervisor(say=_print_line) as supervisor:
                environ = _start_servers(supervisor, plan, given_all, leaving=listening)
                environ = _complete(environ, plan, given, api_socket, crm_socket)
                _migrate_and_seed(plan, environ)
                publish(directory, {name: environ[name] for name in sorted(environ) if _is_setting(name)})
                _start_children(supervisor, plan, environ, api_socket, crm_socket)
                steps = introduction(directory, environ, given, api_socket)
                _print_line(f"ready after {time.monotonic() - started:.1f} s: {steps}")
                supervisor.watch()
        except Stopped:
            _print_line("stopped")


def _check_settings(plan: _Plan, given: Mapping[str, str]) -> None:
    """Raises SettingsError for a wrong value of either service, before any server is started."""
    environ = _with_secrets(plan, given)
    environ["CONVENE_EMBEDDED"] = "0" if _given(given, "DATABASE_URL") else "1"
    for name, value in _VALID.items():
        if not _given(given, name):
            environ[name] = value
    load_settings(environ)
    # The CRM checks its settings in a separate process, which takes half a second. It is skipped without any setting.
    if setting_names().intersection(name.removesuffix("_FILE") for name in given) - {"CONVENE_DATA"}:
        checked = subprocess.run(
            [sys.executable, "-P", "-m", "crm.settings"], env=environ, capture_output=True, text=True, check=False
        )
        if checked.returncode == 2:
            raise SettingsError(checked.stderr.strip().removeprefix("crm: "))


def introduction(data: Path, environ: Mapping[str, str], given: Mapping[str, str], api: socket.socket) -> str:
    """The first steps for a new user of the system."""
    steps = [f"documentation at {_address(api)}/docs"]
    if environ["CONVENE_EMBEDDED"] == "1" and (data / SAMPLE_LOADED).exists():
        steps.append(f"sample login {FACILITATOR_EMAIL} with password {FACILITATOR_PASSWORD}")
    found_by_default = data == Path(given.get("CONVENE_DATA", "var")).absolute()
    setting = "" if found_by_default else f"CONVENE_DATA={shlex.quote(str(data))} "
    steps.append(f"`{setting}{_display_path(Path(sys.executable).with_name('convene'))} demo` plays a booking")
    return "; ".join([*steps, "Ctrl-C stops everything"])


def _start_servers(
    supervisor: Supervisor, plan: _Plan, given: Mapping[str, str], *, leaving: ExitStack
) -> dict[str, str]:
    """The environment with DATABASE_URL, CRM_DATABASE_URL and REDIS_URL; what they do not name is started here."""
    environ = dict(given)
    run: Path | None = None
    own_database = not _given(given, "DATABASE_URL")
    if own_database or not _given(given, "REDIS_URL"):
        run = placement.socket_directory(plan.data, placement.server_account(plan.data))
        if run.parent != plan.data:
            leaving.callback(shutil.rmtree, run, ignore_errors=True)
    if run and own_database:
        postgres = EmbeddedPostgres(plan.data, run, log=plan.log("postgres"))
        supervisor.start(postgres)
        if postgres.initialised:
            (plan.data / SAMPLE_LOADED).unlink(missing_ok=True)
        environ["DATABASE_URL"] = postgres.dsn("convene")
        if not _given(given, "CRM_DATABASE_URL"):
            environ["CRM_DATABASE_URL"] = postgres.dsn("convene_crm")
        _print_line(f"PostgreSQL embedded, data in {_display_path(plan.data / 'postgres')}")
    else:
        from infrastructure.external_servers import database_beside

        if not _given(given, "CRM_DATABASE_URL"):
            environ["CRM_DATABASE_URL"] = database_beside(load_database_url(given), "_crm")
            if load_pooler(given).transactions and not _given(given, "CRM_DATABASE_DIRECT_URL"):
                environ["CRM_DATABASE_DIRECT_URL"] = database_beside(load_direct_database_url(given), "_crm")
        _print_line("PostgreSQL as DATABASE_URL says")
    if run and not _given(given, "REDIS_URL"):
        redis = EmbeddedRedis(run, log=plan.log("redis"))
        supervisor.start(redis)
        environ["REDIS_URL"] = redis.url
        _print_line("Redis      embedded")
    environ["CONVENE_EMBEDDED"] = "1" if own_database else "0"
    return environ


def _complete(
    environ: dict[str, str], plan: _Plan, given: Mapping[str, str], api: socket.socket, crm: socket.socket
) -> dict[str, str]:
    """What the children need beside the servers. A setting that is given stays; all are checked before they start."""
    environ = _with_secrets(plan, environ) | {"CONVENE_DATA": str(plan.data)}
    environ.setdefault("CRM_SERVICE_URL", _address(crm))
    environ.setdefault("PUBLIC_URL", _address(api))
    environ.setdefault("BOOKING_API_URL", _address(api))
    environ.setdefault("DRAIN_SECONDS", "0")
    settings = load_settings(environ)
    for name in SECRETS:
        if environ.pop(f"{name}_FILE", None):
            # The CRM shares some of them and reads no files.
            value = getattr(settings, name.lower())
            environ[name] = ",".join(value) if isinstance(value, tuple) else value
    if _given(given, "REDIS_URL"):
        from infrastructure.external_servers import check_redis

        check_redis(settings.redis_url)
        _print_line("Redis      as REDIS_URL says")
    return environ


def _with_secrets(plan: _Plan, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, with the kept secrets for those that it does not give."""
    kept = kept_secrets(plan.data)
    return dict(environ) | {name: value for name, value in kept.items() if not _given(environ, name)}


def _migrate_and_seed(plan: _Plan, environ: Mapping[str, str]) -> None:
    _run_to_end("migrate", plan, environ)
    _print_line("schema     up to date")
    loaded = plan.data / SAMPLE_LOADED
    # Its accounts have published passwords: never in a database that is not ours.
    if environ["CONVENE_EMBEDDED"] == "1" and not loaded.exists():
        _run_to_end("seed", plan, environ)
        loaded.touch()
        _print_line(f"sample     {processes.last_line(plan.log('seed'))}")


def _run_to_end(command: str, plan: _Plan, environ: Mapping[str, str]) -> None:
    log = plan.log(command)
    log.unlink(missing_ok=True)
    process = processes.spawn([*_CLI, command], log=log, environ=environ, cwd=Path.cwd())
    try:
        status = process.wait()
    finally:
        processes.stop(process, (signal.SIGTERM, 2))
    if status:
        said = processes.last_line(log).removeprefix("convene: ")
        raise EmbeddedError(f"{command} failed: {said or f'exit status {status}'} (log: {_display_path(log)})")


def _start_children(
    supervisor: Supervisor, plan: _Plan, environ: Mapping[str, str], api: socket.socket, crm: socket.socket
) -> None:
    # The API processes count together, the others by themselves.
    apart = {name: value for name, value in environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}

    def start(name: str, argv: Sequence[str], environ: Mapping[str, str], *fds: int) -> None:
        supervisor.start(Child(name, [*argv, *map(str, fds)], environ, plan.log(name), fds))

    for number in range(1, plan.api_workers + 1):
        start(f"api-{number}", (*_CLI, "api", "--fd"), environ, api.fileno())
    start("crm", (*_CRM, "serve", "--fd"), apart, crm.fileno())
    supervisor.wait_until(lambda: _answers(crm, "/"), 60, "CRM")
    # On two cores the API, which is waited for, has one of them to itself.
    for number in range(1, plan.workers + 1):
        start(f"worker-{number}", (*_CLI, "worker"), apart)
    _print_line(f"CRM        {_address(crm)}")
    if environ["CRM_SERVICE_URL"].rstrip("/") != _address(crm):
        _print_line(f"           but bookings are delivered to {environ['CRM_SERVICE_URL']} (CRM_SERVICE_URL)")
    supervisor.wait_until(lambda: _answers(api, "/health"), 60, "API")
    _print_line(f"API        {_address(api)}")
    mail = f"as files in {_display_path(plan.data / 'mail')}"
    _print_line(f"mail       {'through SMTP_URL' if environ.get('SMTP_URL') else mail}")
    _print_line(f"logs       {_display_path(plan.data / 'logs')}")


def _answers(listener: socket.socket, path: str) -> bool:
    host, port = listener.getsockname()[:2]
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _given(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(name) or environ.get(f"{name}_FILE"))


def _is_setting(name: str) -> bool:
    return name.startswith("CRM_") or name.lower() in Settings.__struct_fields__


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


def _display_path(path: Path) -> str:
    """The path as seen from here, when it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _print_line(line: str) -> None:
    """Neither waits for a reader of the output nor fails without one: the supervision goes on."""
    _OUTPUT.write(line + "\n")
