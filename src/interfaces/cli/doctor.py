"""`convene doctor`: what works, what does not, what to do."""

import http.client
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import click

from infrastructure.embedded.data_directory import running_environ
from infrastructure.settings import Settings, SettingsError, load_settings
from interfaces.cli.environment import command_environ, data_directory
from interfaces.cli.problems import sentence


@click.command()
@click.option("--skip", multiple=True, type=click.Choice(["database", "migrations", "redis", "crm"]), help="Leave out.")
def doctor(skip: tuple[str, ...]) -> None:
    """Check settings, database, migrations, Redis and CRM; status 1 when something needs mending."""
    try:
        settings = load_settings(command_environ())
    except SettingsError as error:
        click.echo(f"wrong   settings: {error}")
        if not running_environ(data_directory()):
            click.echo(f"        no system runs in {data_directory()}: `convene up` starts one, or set CONVENE_DATA")
        sys.exit(1)
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("settings", _settings),
        ("database", _database),
        ("migrations", _migrations),
        ("redis", _redis),
        ("crm", _crm),
    ]
    wrong = 0
    for name, check in checks:
        if name in skip:
            continue
        try:
            click.echo(f"ok      {name}: {check(settings)}")
        except Exception as error:  # every check is tried, whatever the one before met
            wrong += 1
            click.echo(f"wrong   {name}: {sentence(error) or error!r}")
    sys.exit(1 if wrong else 0)


def _settings(settings: Settings) -> str:
    mode = "embedded, secrets are used as they are" if settings.convene_embedded else "secrets checked"
    return f"complete ({mode}); data in {settings.convene_data}"


def _database(settings: Settings) -> str:
    from infrastructure.provisioning import check_database

    check_database(settings.database_url, "DATABASE_URL")
    return "PostgreSQL answers"


def _migrations(settings: Settings) -> str:
    from infrastructure.database.migrations import is_current

    if not is_current(settings.database_url):
        raise click.ClickException("the database is behind the code: run `convene migrate`")
    return "up to date"


def _redis(settings: Settings) -> str:
    from infrastructure.provisioning import check_redis

    check_redis(settings.redis_url)
    return "answers"


def _crm(settings: Settings) -> str:
    address = urlsplit(settings.crm_service_url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", (address.path or "") + "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise click.ClickException(
            f"{settings.crm_service_url} does not answer ({error}): start the CRM, or correct CRM_SERVICE_URL"
        ) from None
    finally:
        connection.close()
    if status >= 500:
        raise click.ClickException(f"{settings.crm_service_url} answers {status}: see the CRM's log")
    return f"{settings.crm_service_url} answers"
