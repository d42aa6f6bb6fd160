"""`convene doctor`: checks of the installation, and what to do about problems."""

import sys
from collections.abc import Set
from functools import partial

import click

from domain.errors import Unavailable
from infrastructure.embedded.data_directory import running_environ
from infrastructure.settings import Settings, SettingsError, load_settings
from interfaces.cli.checks import CHECKS, RESTS_ON, Check, Finding, Level, Processes, connections
from interfaces.cli.environment import command_environ, data_directory
from interfaces.cli.problems import error_message

_NUMBER = click.IntRange(0, 1000)


@click.command()
@click.option(
    "--skip", multiple=True, type=click.Choice([name for name in CHECKS if name != "settings"]), help="Leave out."
)
@click.option("--api-processes", type=_NUMBER, default=1, show_default=True, help="API processes at this database.")
@click.option("--worker-processes", type=_NUMBER, default=1, show_default=True, help="Workers at this database.")
@click.option("--crm-processes", type=_NUMBER, default=1, show_default=True, help="CRM processes at the same server.")
def doctor(skip: tuple[str, ...], api_processes: int, worker_processes: int, crm_processes: int) -> None:
    """Check settings, servers, connections, clock, time zones and deliveries.

    Each line has ok, warn or fail, and what to do. The exit status is 1 if a line has fail.
    """
    try:
        settings = load_settings(command_environ())
    except SettingsError as error:
        _print_finding("settings", Finding(Level.FAIL, str(error)))
        if not running_environ(data_directory()):
            click.echo(f"      no system runs in {data_directory()}: `convene up` starts one, or set CONVENE_DATA")
        sys.exit(1)
    failed = set[str]()
    processes = Processes(api_processes, worker_processes, crm_processes)
    for name, check in (CHECKS | {"connections": partial(connections, processes=processes)}).items():
        if name in skip:
            continue
        for finding in _findings(check, settings, failed.intersection(RESTS_ON.get(name, ()))):
            _print_finding(name, finding)
            if finding.level is Level.FAIL:
                failed.add(name)
    sys.exit(1 if failed else 0)


def _findings(check: Check, settings: Settings, missing: Set[str]) -> list[Finding]:
    """The findings of a check. A check runs after the failure of another one, unless it depends on it."""
    if missing:
        return [_NEEDS_DATABASE if "database" in missing else _NEEDS_MIGRATION]
    try:
        return list(check(settings))
    except Unavailable:
        return [_NEEDS_DATABASE]
    except Exception as error:
        return [Finding(Level.FAIL, error_message(error) or repr(error))]


_NEEDS_DATABASE = Finding(Level.FAIL, "cannot be checked without the database: see its line")
_NEEDS_MIGRATION = Finding(Level.FAIL, "cannot be checked before `convene migrate`")


def _print_finding(name: str, finding: Finding) -> None:
    click.echo(f"{finding.level:<5} {name}: {finding.text}")
