"""Reports on stderr that the database of a process cannot be used, while the process keeps trying."""

import asyncio
import threading
import time
from collections.abc import Callable

import click

from infrastructure.embedded.errors import Unusable
from servicekit.pooler import Pooler

PAUSE_SECONDS = 1.0
FIRST_SECONDS = 0.7
"""Seconds for the first attempt: an unreachable server is reported within a second."""


def start_database_watch(dsn: str, pooler: Pooler) -> None:
    """Reports in the background, on stderr; ends when the database answers and has a schema that this version uses."""

    def check(seconds: float) -> None:
        from infrastructure.external_servers import check_database

        check_database(dsn, "DATABASE_URL", seconds=seconds, pooler=pooler)

    def watch() -> None:
        report_until_usable(check)
        report_until_usable(
            lambda seconds: check_schema(dsn, seconds),
            meanwhile="/health/ready answers 503 until then",
            end="the schema is up to date",
        )

    threading.Thread(target=watch, daemon=True).start()


def _say(line: str) -> None:
    click.echo(line, err=True)


def check_schema(dsn: str, seconds: float, say: Callable[[str], None] = _say) -> None:
    """Raises `Unusable` for a schema that this version cannot use, and reports a newer one that it can."""
    import asyncpg

    from infrastructure.external_servers import check_database
    from infrastructure.postgres.schema_version import SCHEMA_VERSION

    check_database(dsn, "DATABASE_URL", seconds=seconds)
    try:
        fit = asyncio.run(SCHEMA_VERSION.fit_of(dsn))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise Unusable(f"the version of the schema cannot be read ({error}): see the log of PostgreSQL") from None
    if not fit.usable:
        raise Unusable(f"DATABASE_URL: {fit.sentence}")
    if fit.sentence:
        say(f"convene: DATABASE_URL: {fit.sentence}")


def report_until_usable(
    check: Callable[[float], None],
    say: Callable[[str], None] = _say,
    pause: Callable[[float], None] = time.sleep,
    *,
    meanwhile: str = "requests are answered with 503 until then",
    end: str = "PostgreSQL answers",
) -> None:
    """Calls `check`, which raises `Unusable`, until it returns. Reports each reason once, and the end of the
    problem."""
    reported = None
    seconds = FIRST_SECONDS
    while True:
        try:
            check(seconds)
        except Unusable as error:
            if str(error) != reported:
                reported = str(error)
                say(f"convene: {reported}; trying again, {meanwhile}")
        else:
            break
        seconds = 5.0
        pause(PAUSE_SECONDS)
    if reported is not None:
        say(f"convene: {end}")
