"""`convene doctor`: what works, what does not, what to do."""

import sys

import click

from domain.errors import Unavailable
from infrastructure.embedded.data_directory import running_environ
from infrastructure.settings import SettingsError, load_settings
from interfaces.cli.checks import CHECKS, Finding, Level
from interfaces.cli.environment import command_environ, data_directory
from interfaces.cli.problems import sentence


@click.command()
@click.option(
    "--skip", multiple=True, type=click.Choice([name for name in CHECKS if name != "settings"]), help="Leave out."
)
def doctor(skip: tuple[str, ...]) -> None:
    """Check settings, servers, clock and what is owed; each line says ok, warn or fail, and what to do.

    Status 1 when a line says fail.
    """
    try:
        settings = load_settings(command_environ())
    except SettingsError as error:
        _say("settings", Finding(Level.FAIL, str(error)))
        if not running_environ(data_directory()):
            click.echo(f"      no system runs in {data_directory()}: `convene up` starts one, or set CONVENE_DATA")
        sys.exit(1)
    failed = False
    for name, check in CHECKS.items():
        if name in skip:
            continue
        try:
            findings = list(check(settings))
        except Unavailable:
            findings = [Finding(Level.FAIL, "cannot be told without the database: see what is said of it")]
        except Exception as error:  # every check is tried, whatever the one before met
            findings = [Finding(Level.FAIL, sentence(error) or repr(error))]
        for finding in findings:
            _say(name, finding)
        failed |= any(finding.level is Level.FAIL for finding in findings)
    sys.exit(1 if failed else 0)


def _say(name: str, finding: Finding) -> None:
    click.echo(f"{finding.level:<5} {name}: {finding.text}")
