"""Common parts of list commands: options, tables, and JSON for programs."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from application.ports import DEFAULT_PAGE, MAX_PAGE
from domain.time import as_utc

Command = TypeVar("Command", bound=Callable[..., Any])


def page_options(command: Command) -> Command:
    """Adds `--limit`, `--cursor` and `--json`, which is the argument `as_json`."""
    limit = click.option(
        "--limit",
        type=click.IntRange(1, MAX_PAGE, clamp=True),
        default=DEFAULT_PAGE,
        show_default=True,
        help=f"The maximum number of entries, at most {MAX_PAGE}.",
    )
    cursor = click.option("--cursor", metavar="TEXT", help="The start of the page: the cursor of the page before it.")
    as_json = click.option(
        "--json", "as_json", is_flag=True, help='Print JSON: {"items": [...], "next": the --cursor of the next page}.'
    )
    return limit(cursor(as_json(command)))


def next_page(cursor: str) -> str:
    """The line below a page that is not the last."""
    return f"... and more: --cursor {cursor} shows the next ones"


def print_json_page(items: Sequence[Mapping[str, object]], next_cursor: str | None, **more: object) -> None:
    """Prints a page as JSON. Instants are RFC 3339 in UTC; other characters than ASCII are escaped, so that they cannot
    control the terminal."""
    click.echo(json.dumps({"items": items, "next": next_cursor, **more}, indent=2, default=_json_text))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, as wide as their widest cell."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows))
    return "\n".join(line.rstrip() for line in lines)


def one_line(text: str, length: int) -> str:
    """The text on one line without control characters: received text must not control the operator's terminal."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def moment(instant: datetime) -> str:
    return f"{as_utc(instant):%Y-%m-%d %H:%M:%S}Z"


def _json_text(value: object) -> str:
    return as_utc(value).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
