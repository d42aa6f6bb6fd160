"""The `convene` command.

A command is a module of this package and a line in COMMANDS. It is imported only when it is called, and imports what
is heavy inside its function, so that `convene --help` stays instant.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

import click

from interfaces.cli.env_file import misspelt_lines
from interfaces.cli.problems import error_message
from servicekit.settings_reader import EnvFileError, load_env_file
from servicekit.time_zones import use_newest_time_zones

COMMANDS = {
    "up": "interfaces.cli.up:up",
    "demo": "interfaces.cli.demo:demo",
    "api": "interfaces.cli.serve:api",
    "worker": "interfaces.cli.serve:worker",
    "crm": "interfaces.cli.serve:crm",
    "migrate": "interfaces.cli.migrate:migrate",
    "seed": "interfaces.cli.seed:seed",
    "users": "interfaces.cli.users:users",
    "outbox": "interfaces.cli.outbox:outbox",
    "payments": "interfaces.cli.payments:payments",
    "audit": "interfaces.cli.audit:audit",
    "backup": "interfaces.cli.backup:backup",
    "restore": "interfaces.cli.restore:restore",
    "secrets": "interfaces.cli.secrets:secrets",
    "openapi": "interfaces.cli.openapi:openapi",
    "doctor": "interfaces.cli.doctor:doctor",
}
"""Name → `module:function`, in the order `--help` shows."""


class Commands(click.Group):
    """Finds a command by its name in COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="convene")
def convene() -> None:
    """Convene: a booking backend for events and appointments.

    `convene up` starts everything on this machine; the other commands find that system by CONVENE_DATA.
    """


def main() -> None:
    """Entry point. What a person can cause ends as one line on stderr: status 2 for a wrong call, else 1."""
    env_file = Path(".env")
    try:
        load_env_file(env_file)
    except EnvFileError as error:
        _fail(str(error), 2)
    if "_CONVENE_COMPLETE" not in os.environ:  # set by a shell that completes a word: its terminal is no place for it
        for line in misspelt_lines(env_file):
            click.echo(f"convene: {line}", err=True)
    use_newest_time_zones()
    try:
        convene.main(prog_name="convene", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as shown:
        click.echo(shown.format_message(), err=True)
        sys.exit(2)
    except click.UsageError as wrong:
        path = wrong.ctx.command_path if wrong.ctx else "convene"
        _fail(f"{wrong.format_message()} (`{path} --help` shows what there is)", 2)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        said = error_message(error)
        if said is None:
            raise
        _fail(said, 2 if type(error).__name__ == "SettingsError" else 1)


def _fail(text: str, status: int) -> None:
    click.echo(f"convene: {' '.join(text.split())}", err=True)
    sys.exit(status)
