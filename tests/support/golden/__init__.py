"""What the product promises to others as structure: paths, schemas, codes, metrics, commands, settings, mails, calendar
entries, messages and database schemas. Without prose, and without any name of the code.

The files of `tests/architecture/golden/` hold it; `test_golden.py` compares. `python -m tests.support.golden` writes
them anew, all or those that are named.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.golden import (
    command_line,
    database,
    error_codes,
    http_api,
    mails,
    metric_names,
    requests_sent,
    setting_names,
    stored_messages,
)
from tests.support.golden.layout import text_of

DIRECTORY = Path(__file__).parents[2] / "architecture" / "golden"


@dataclass(frozen=True, slots=True)
class Databases:
    """Both as their migrations make them, and a directory for what a service writes."""

    booking_api: str
    crm: str
    data: Path


PARTS: dict[str, Callable[[Databases], Any]] = {
    "http-booking-api": lambda _: http_api.booking_api(),
    "http-crm": lambda _: http_api.crm(),
    "errors-booking-api": lambda _: error_codes.booking_api(),
    "errors-crm": lambda _: error_codes.crm(),
    "metrics": lambda databases: metric_names.booking_api(databases.booking_api, databases.data),
    "command-convene": lambda _: command_line.booking_api(),
    "command-crm": lambda _: command_line.crm(),
    "settings": lambda _: setting_names.settings(),
    "messages": lambda _: requests_sent.destinations(),
    "messages-stored": lambda databases: stored_messages.booking_api(databases.booking_api, databases.data),
    "requests-booking-api": lambda _: requests_sent.booking_api(),
    "requests-crm": lambda _: requests_sent.crm(),
    "mails-booking-api": lambda _: mails.booking_api(),
    "mails-crm": lambda _: mails.crm(),
    "calendars": lambda _: mails.calendars(),
    "database-booking-api": lambda databases: database.schema(databases.booking_api),
    "database-crm": lambda databases: database.schema(databases.crm),
}


async def made(name: str, databases: Databases) -> str:
    """What the file `name` has to hold now."""
    value = PARTS[name](databases)
    structure = await value if inspect.isawaitable(value) else value
    return text_of(json.loads(json.dumps(structure)))


def path_of(name: str) -> Path:
    return DIRECTORY / f"{name}.json"
