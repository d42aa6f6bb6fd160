"""`convene backup`: copies of both databases, of mail files and of the secrets."""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from infrastructure.settings import SECRETS, load_direct_crm_database_url, load_direct_database_url
from interfaces.cli.env_file import CRM_SECRETS
from interfaces.cli.environment import command_environ, data_directory
from interfaces.cli.problems import Problem
from servicekit.settings_reader import SettingsReader

_PLACES = frozenset(
    {
        "DATABASE_URL",
        "DATABASE_DIRECT_URL",
        "DATABASE_REPLICA_URL",
        "CRM_DATABASE_URL",
        "CRM_DATABASE_DIRECT_URL",
        "REDIS_URL",
    }
)
"""Addresses of this place, with its passwords. They are not in a backup."""

PASSPHRASE_FILE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the passphrase; default BACKUP_PASSPHRASE_FILE, BACKUP_PASSPHRASE or a question.",
)
DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@click.command()
@DIRECTORY
@PASSPHRASE_FILE
@click.option(
    "--keep",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Name the backup by its time, inside DIR, and keep the N newest ones there: for a nightly job.",
)
def backup(directory: Path, passphrase_file: Path | None, keep: int | None) -> None:
    """Copy both databases, mail files and the secrets to the new directory DIR, while the system runs.

    The secrets (such as TOKEN_ENCRYPTION_KEYS) are encrypted with a passphrase. Without CRM_DATABASE_URL the database
    of the CRM is not copied. `convene restore` reads the backup.
    """
    from infrastructure.backup.dump import server_time
    from infrastructure.backup.making import make_backup
    from infrastructure.backup.rotation import delete_outdated, named_by

    environ = command_environ()
    booking, crm = load_direct_database_url(environ), load_direct_crm_database_url(environ)
    secrets = given_secrets(environ)
    passphrase = read_passphrase(passphrase_file, environ, confirm=True)
    started = time.monotonic()
    now = asyncio.run(server_time(booking))
    target = directory.absolute() if keep is None else directory.absolute() / named_by(now)
    manifest = make_backup(
        target,
        booking=booking,
        crm=crm,
        mail=data_directory() / "mail",
        secrets=secrets,
        passphrase=passphrase,
        progress=progress_lines(),
    )
    for name, database in (("booking", manifest.booking), ("CRM", manifest.crm)):
        if database is None:
            click.echo(f"{name} database: not copied, CRM_DATABASE_URL is not set")
        else:
            click.echo(f"{name} database: {len(database.tables)} tables, {database.rows:,} rows")
    click.echo(f"secrets: {', '.join(sorted(secrets)) or 'none are set'}")
    size = sum(file.bytes for file in manifest.files())
    shown = directory if keep is None else directory / target.name
    click.echo(f"{shown}: {size / 1_000_000:,.1f} MB in {time.monotonic() - started:.0f} s")
    if keep is not None:
        for name in delete_outdated(target.parent, now, keep=keep):
            click.echo(f"deleted: {name}")


def given_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The secrets of all services, also those in files. Raises `SettingsError`."""
    names = (SECRETS | CRM_SECRETS) - _PLACES
    read = SettingsReader(environ, names, lambda _name: "")
    return {name: value for name in sorted(names) if (value := read.text(name, ""))}


def read_passphrase(file: Path | None, environ: Mapping[str, str], *, confirm: bool = False) -> str:
    """From a file, the environment, or a question at the terminal."""
    file = file or (Path(environ["BACKUP_PASSPHRASE_FILE"]) if environ.get("BACKUP_PASSPHRASE_FILE") else None)
    if file is not None:
        try:
            passphrase = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise Problem(f"the passphrase cannot be read from {file} ({reason})") from None
    else:
        passphrase = environ.get("BACKUP_PASSPHRASE", "")
        if not passphrase and sys.stdin.isatty():
            passphrase = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    if not passphrase:
        raise Problem("no passphrase: give --passphrase-file, BACKUP_PASSPHRASE_FILE or BACKUP_PASSPHRASE")
    return passphrase


def progress_lines() -> Callable[[str], None]:
    """Shows the table that was copied last, on a terminal only."""
    if not sys.stderr.isatty():
        return lambda _table: None

    def show(table: str) -> None:
        click.echo(f"\r\x1b[K{table}", nl=False, err=True)

    return show
