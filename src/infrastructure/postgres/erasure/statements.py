"""What the statements of an erasure are made of. Each package has those of its own tables, as `ERASE`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from servicekit.database import Connection

_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")

STATEMENT_SECONDS = 600
"""Limit of a statement: those on texts without an index read a whole table."""


def scrubbed(text: str) -> str:
    """SQL for a text without the person's addresses, names and phone numbers."""
    without_addresses = f"regexp_replace({text}, CAST(:address_pattern AS text), CAST(:email AS text), 'gi')"
    return f"regexp_replace({without_addresses}, CAST(:name_pattern AS text), CAST(:name AS text), 'gi')"


def scrubbed_json(value: str) -> str:
    """The same for JSON."""
    return f"CAST({scrubbed(f'CAST({value} AS text)')} AS jsonb)"


def has_address(text: str) -> str:
    """SQL for whether one of the person's addresses is in a text."""
    return f"({text} ILIKE ANY (CAST(:address_likes AS text[])))"


USER = "CAST(:user_id AS bigint)"
USER_TEXT = "CAST(CAST(:user_id AS bigint) AS text)"
"""The account that is erased, also as JSON has it with `->>`."""


def bound(statement: str, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """SQL with named parameters, each with a cast, as asyncpg takes it: with numbers, and with the values in order."""
    names = list(dict.fromkeys(_PARAMETER.findall(statement)))
    numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", statement)
    return numbered, [values[name] for name in names]


async def run(connection: Connection, statements: Sequence[str], values: Mapping[str, Any]) -> None:
    for statement in statements:
        numbered, parameters = bound(statement, values)
        await connection.execute(numbered, *parameters, timeout=STATEMENT_SECONDS)
