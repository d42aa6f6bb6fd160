"""`convene restore`: a backup into empty databases, or into an empty data directory."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from application.audit.ports import ORIGIN, by_operator
from infrastructure.backup import BackupError
from infrastructure.embedded.data_directory import running_environ
from infrastructure.settings import load_direct_crm_database_url, load_direct_database_url
from interfaces.cli.backup import DIRECTORY, PASSPHRASE_FILE, progress_lines, read_passphrase
from interfaces.cli.environment import data_directory
from interfaces.cli.pages import moment
from interfaces.cli.problems import Problem
from interfaces.cli.up import SAMPLE_LOADED

if TYPE_CHECKING:
    from infrastructure.backup.manifest import Manifest
    from infrastructure.backup.restoring import Restored


@click.command()
@DIRECTORY
@PASSPHRASE_FILE
def restore(directory: Path, passphrase_file: Path | None) -> None:
    """Restore the backup in DIR into empty databases.

    DATABASE_URL and CRM_DATABASE_URL name them. Without DATABASE_URL the backup is restored into the data directory of
    `convene up` (CONVENE_DATA), which must not exist or be empty. Numbers continue above those that may have been
    used since the backup, and the CRM gets again what was delivered to it since its copy.
    """
    from infrastructure.backup.restoring import check_backup, check_place
    from infrastructure.backup.restoring import restore as restore_backup
    from infrastructure.embedded.secrets import write_private

    given = {name: value for name, value in os.environ.items() if value}
    data, started = data_directory(), time.monotonic()
    if running_environ(data):
        raise Problem(f"a system runs in {data}: stop it, or set CONVENE_DATA to another directory")
    checked = check_backup(directory.absolute(), read_passphrase(passphrase_file, given))
    secrets = data / "secrets.env"
    if secrets.exists():
        raise Problem(f"{secrets} exists: set CONVENE_DATA to an empty directory, which receives the secrets")
    with _databases(given, data) as environ:
        booking, crm = load_direct_database_url(environ), load_direct_crm_database_url(environ)
        check_place(checked.manifest, booking, crm)

        def migrate_crm(dsn: str, revision: str) -> None:
            addresses = {"CRM_DATABASE_URL": dsn, "CRM_DATABASE_DIRECT_URL": dsn}
            _migrate_crm(environ | dict(checked.secrets) | addresses, revision)

        ORIGIN.set(by_operator)
        done = restore_backup(
            checked,
            booking=booking,
            crm=crm,
            mail=data / "mail",
            migrate_crm=migrate_crm,
            progress=progress_lines(),
        )
        data.mkdir(parents=True, exist_ok=True)
        write_private(secrets, checked.secrets)
    for line in _report(checked.manifest, done, sorted(checked.secrets), secrets):
        click.echo(line)
    click.echo(f"restored in {time.monotonic() - started:.0f} s")


@contextlib.contextmanager
def _databases(given: Mapping[str, str], data: Path) -> Iterator[dict[str, str]]:
    """The environment with the addresses of both databases. Without DATABASE_URL an embedded server runs meanwhile;
    what it has made is removed after an error."""
    if given.get("DATABASE_URL") or given.get("DATABASE_URL_FILE"):
        yield dict(given)
        return
    from infrastructure.embedded import EmbeddedPostgres, placement
    from infrastructure.embedded.data_directory import owned

    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise Problem(f"{data} is not empty: set CONVENE_DATA to a new directory, or DATABASE_URL to an empty database")
    made = not data.exists()
    try:
        with owned(data) as directory, contextlib.ExitStack() as leaving:
            run = placement.socket_directory(directory, placement.server_account(directory))
            if run.parent != directory:
                leaving.callback(shutil.rmtree, run, ignore_errors=True)
            server = EmbeddedPostgres(directory, run, log=directory / "logs" / "postgres.log")
            leaving.callback(server.stop)
            server.start()
            booking, crm = server.dsn("convene"), server.dsn("convene_crm")
            yield dict(given) | {
                "DATABASE_URL": booking,
                "DATABASE_DIRECT_URL": booking,
                "CRM_DATABASE_URL": crm,
                "CRM_DATABASE_DIRECT_URL": crm,
                "CONVENE_EMBEDDED": "1",
            }
            (directory / SAMPLE_LOADED).touch()
    except BaseException:
        _remove(data, directory_too=made)
        raise


def _remove(data: Path, *, directory_too: bool) -> None:
    """Removes what a failed restore has made in a directory that was empty before."""
    cluster = data / "postgres"
    if cluster.is_symlink():
        shutil.rmtree(cluster.resolve().parent, ignore_errors=True)
        cluster.unlink(missing_ok=True)
    for made in list(data.iterdir()) if data.is_dir() else []:
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
        else:
            made.unlink(missing_ok=True)
    if directory_too:
        with contextlib.suppress(OSError):
            data.rmdir()


def _migrate_crm(environ: Mapping[str, str], revision: str) -> None:
    # The CRM is a separate service: its code is started, not imported.
    done = subprocess.run(  # noqa: S603 (the revision of a checked manifest)
        [sys.executable, "-P", "-m", "crm", "migrate", "--revision", revision],
        env={"CRM_BEARER_TOKEN": "none"} | dict(environ),  # of a backup without secrets; it migrates only
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise BackupError((said[-1] if said else "the CRM's migration failed").removeprefix("crm: "))


def _report(manifest: "Manifest", done: "Restored", secrets: list[str], file: Path) -> Iterator[str]:
    yield f"backup of {moment(manifest.started_at)} by Convene {manifest.convene}"
    yield f"booking database: {len(manifest.booking.tables)} tables, {manifest.booking.rows:,} rows"
    if manifest.crm is not None:
        yield f"CRM database: {len(manifest.crm.tables)} tables, {manifest.crm.rows:,} rows"
        yield f"messages sent to the CRM again by the worker: {done.sent_again:,}"
    else:
        yield "CRM database: not in the backup"
    yield f"pending messages that the worker will deliver: {done.pending:,}"
    yield f"next booking number: {done.sequences.get('bookings_id_seq', 0) + 1}"
    yield f"secrets in {file}: {', '.join(secrets) or 'none'}"
    yield "what happened after the backup is missing: `convene payments check` compares payments with the gateways"
