"""The erased_users table. What arrives later about a user in it is stored without personal data."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from crm.database import Connection

NAMES_NO_ERASED_USER = "NOT EXISTS (SELECT FROM erased_users e WHERE e.user_id = ANY (given.people::bigint[]))"
"""SQL: the row of `given` has no personal data of an erased user. `people` is the text of an array of user ids."""


class Progress(msgspec.Struct, frozen=True):
    """How far an erasure has come: all rows up to these ids are done. `erased_at`: when it was finished."""

    notifications_until: int
    webhooks_until: UUID
    erased_at: datetime | None


def as_array(people: Iterable[int]) -> str:
    """The text of an array of user ids, as PostgreSQL reads it."""
    return f"{{{','.join(map(str, people))}}}"


async def erased_among(connection: Connection, people: frozenset[int]) -> frozenset[int]:
    """Those who were erased, or are being erased."""
    rows = await connection.fetch("SELECT user_id FROM erased_users WHERE user_id = ANY ($1)", [*people])
    return frozenset(row["user_id"] for row in rows)


async def begin(connection: Connection, user_id: int) -> Progress:
    """Messages that are stored from now on have no personal data of the user."""
    await connection.execute("INSERT INTO erased_users (user_id) VALUES ($1) ON CONFLICT DO NOTHING", user_id)
    return await progress(connection, user_id)


async def progress(connection: Connection, user_id: int) -> Progress:
    """Locks the row until the transaction ends: two attempts at one erasure take turns."""
    row = await connection.fetchrow(
        "SELECT notifications_until, webhooks_until, erased_at FROM erased_users WHERE user_id = $1 FOR UPDATE", user_id
    )
    assert row is not None  # erasures are forgotten long after they were finished
    return Progress(**row)


async def advance(
    connection: Connection, user_id: int, column: Literal["notifications_until", "webhooks_until"], until: int | UUID
) -> None:
    """All rows up to this id are done."""
    await connection.execute(f"UPDATE erased_users SET {column} = $2 WHERE user_id = $1", user_id, until)  # noqa: S608


async def finish(connection: Connection, user_id: int) -> None:
    await connection.execute("UPDATE erased_users SET erased_at = now() WHERE user_id = $1", user_id)
