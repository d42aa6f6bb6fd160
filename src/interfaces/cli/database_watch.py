"""Reports on stderr that the database of a process cannot be used, while the process keeps trying."""

import threading
import time
from collections.abc import Callable

import click

from infrastructure.embedded.errors import Unusable

PAUSE_SECONDS = 1.0
FIRST_SECONDS = 0.7
"""Seconds for the first attempt: an unreachable server is reported within a second."""


def start_database_watch(dsn: str) -> None:
    """Reports in the background, on stderr; ends when the database answers."""

    def check(seconds: float) -> None:
        from infrastructure.external_servers import check_database

        check_database(dsn, "DATABASE_URL", seconds=seconds)

    threading.Thread(target=report_until_usable, args=(check,), daemon=True).start()


def report_until_usable(
    check: Callable[[float], None],
    say: Callable[[str], None] = lambda line: click.echo(line, err=True),
    pause: Callable[[float], None] = time.sleep,
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
                say(f"convene: {reported}; trying again, requests are answered with 503 until then")
        else:
            break
        seconds = 5.0
        pause(PAUSE_SECONDS)
    if reported is not None:
        say("convene: PostgreSQL answers")
