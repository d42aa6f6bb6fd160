"""`convene secrets`: the encryption keys of stored secrets."""

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from infrastructure.settings import load_settings
from interfaces.cli.environment import command_environ
from interfaces.cli.problems import Problem

if TYPE_CHECKING:
    from infrastructure.postgres.reencryption import Reencrypted


@click.group()
def secrets() -> None:
    """Manage the encryption keys of stored secrets."""


@secrets.command()
def rotate() -> None:
    """Re-encrypt every stored secret with the first of TOKEN_ENCRYPTION_KEYS, while the system runs: those of connected
    calendars and of authenticator apps.

    Put a new key before the old one, restart the processes, run this command, then remove the old key.
    """
    calendars, apps = asyncio.run(_rotate())
    counted = f"{_number(calendars, 'connected calendar')} and {_number(apps, 'authenticator app')}"
    click.echo(f"{counted} sealed with the first key")
    for connection_id in calendars.broken:
        click.echo(f"calendar {connection_id} opens with no key: its owner has to connect it again", err=True)
    for factor_id in apps.broken:
        click.echo(f"authenticator app {factor_id} opens with no key: its owner has to add it again", err=True)
    sys.exit(1 if calendars.broken or apps.broken else 0)


def _number(done: "Reencrypted", noun: str) -> str:
    return f"{done.resealed} {noun}{'' if done.resealed == 1 else 's'}"


async def _rotate() -> "tuple[Reencrypted, Reencrypted]":
    settings = load_settings(command_environ())
    if not settings.token_encryption_keys:
        raise Problem("TOKEN_ENCRYPTION_KEYS is not set: there is nothing to seal with")

    from infrastructure.auth.token_encryption import SecretBox
    from infrastructure.postgres.accounts.second_factors import SECRETS
    from infrastructure.postgres.calendars.connections import TOKENS
    from infrastructure.postgres.engine import Database
    from infrastructure.postgres.reencryption import reencrypt

    box = SecretBox(settings.token_encryption_keys)
    database = Database(settings.database_url, pool_size=2, pooler=settings.pooler)
    try:
        return await reencrypt(database, box, TOKENS), await reencrypt(database, box, SECRETS)
    finally:
        await database.close()
