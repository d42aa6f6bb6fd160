"""`convene secrets`: the encryption keys of stored secrets."""

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from infrastructure.settings import load_settings
from interfaces.cli.environment import command_environ
from interfaces.cli.problems import Problem

if TYPE_CHECKING:
    from infrastructure.postgres.calendars.token_reencryption import Reencrypted


@click.group()
def secrets() -> None:
    """Manage the encryption keys of stored secrets."""


@secrets.command()
def rotate() -> None:
    """Re-encrypt every stored token with the first of TOKEN_ENCRYPTION_KEYS, while the system runs.

    Put a new key before the old one, restart the processes, run this command, then remove the old key.
    """
    done = asyncio.run(_rotate())
    click.echo(f"{done.resealed} connected calendar{'' if done.resealed == 1 else 's'} sealed with the first key")
    for connection_id in done.broken:
        click.echo(f"calendar {connection_id} opens with no key: its owner has to connect it again", err=True)
    sys.exit(1 if done.broken else 0)


async def _rotate() -> "Reencrypted":
    settings = load_settings(command_environ())
    if not settings.token_encryption_keys:
        raise Problem("TOKEN_ENCRYPTION_KEYS is not set: there is nothing to seal with")

    from infrastructure.auth.token_encryption import SecretBox
    from infrastructure.postgres.calendars.token_reencryption import reencrypt
    from infrastructure.postgres.engine import Database

    database = Database(settings.database_url, pool_size=2, pooler=settings.pooler)
    try:
        return await reencrypt(database, SecretBox(settings.token_encryption_keys))
    finally:
        await database.close()
