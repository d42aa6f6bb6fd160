"""`convene migrate`: migrates both databases to the newest schema."""

import asyncio
import subprocess
import sys

import click

from infrastructure.settings import load_direct_crm_database_url, load_direct_database_url
from interfaces.cli.environment import command_environ
from interfaces.cli.problems import Problem


@click.command()
def migrate() -> None:
    """Migrate the databases of the booking API and the CRM to the newest schema.

    Creates a database that does not exist. It can run repeatedly, and in several processes concurrently, while the
    services run: docs/operations/upgrade.md has the order. Without CRM_DATABASE_URL the database of the CRM is not
    changed. Behind a transaction pooler it uses DATABASE_DIRECT_URL and CRM_DATABASE_DIRECT_URL.
    """
    environ = command_environ()
    dsn = load_direct_database_url(environ)

    from infrastructure.external_servers import ensure_database
    from infrastructure.postgres.schema_version import SCHEMA_VERSION

    ensure_database(dsn, "DATABASE_URL")
    # Alembic and SQLAlchemy take most of a second to import.
    if not asyncio.run(SCHEMA_VERSION.fit_of(dsn)).current:
        _upgrade(dsn)
    click.echo("booking database: up to date")
    crm_dsn = load_direct_crm_database_url(environ)
    if not crm_dsn:
        click.echo("CRM database: left alone, CRM_DATABASE_URL is not set")
        return
    ensure_database(crm_dsn, "CRM_DATABASE_URL")
    # The CRM is a separate service: its code is started, not imported.
    done = subprocess.run([sys.executable, "-P", "-m", "crm", "migrate"], env=environ, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    click.echo("CRM database: up to date")


def _upgrade(dsn: str) -> None:
    from infrastructure.postgres.migrations import upgrade
    from servicekit.migrations import MigrationBlocked

    try:
        upgrade(dsn, report=lambda sentence: click.echo(f"convene: {sentence}", err=True))
    except MigrationBlocked as error:
        raise Problem(str(error)) from None
