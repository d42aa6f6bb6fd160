"""Options of the commands that list: how many entries, and where the next page begins."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from application.ports.readers import DEFAULT_PAGE, MAX_PAGE

Command = TypeVar("Command", bound=Callable[..., Any])


def page_options(command: Command) -> Command:
    """Adds `--limit` and `--cursor`."""
    limit = click.option(
        "--limit",
        type=click.IntRange(1, MAX_PAGE, clamp=True),
        default=DEFAULT_PAGE,
        show_default=True,
        help=f"Entries of a page, at most {MAX_PAGE}.",
    )
    cursor = click.option("--cursor", metavar="TEXT", help="Where the page begins, as the page before it said.")
    return limit(cursor(command))


def next_page(cursor: str) -> str:
    """The line below a page that is not the last."""
    return f"... and more: --cursor {cursor} shows the next ones"
