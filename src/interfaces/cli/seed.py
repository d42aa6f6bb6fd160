"""`convene seed`: the sample data."""

import asyncio

import click

from infrastructure.settings import load_settings
from interfaces.cli.environment import command_environ


@click.command()
def seed() -> None:
    """Load the sample facilitator and sessions. Existing data is not changed."""
    settings = load_settings(command_environ())

    from infrastructure.sample_data import load

    click.echo(asyncio.run(load(settings)))
