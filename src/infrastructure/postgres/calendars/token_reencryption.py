"""Sealing what is sealed with an old key with the new one, while everybody goes on reading."""

from dataclasses import dataclass
from uuid import UUID

from domain.calendars import ConnectionId
from infrastructure.auth.token_encryption import SealBroken, SecretBox
from infrastructure.postgres.calendars.connections import place
from infrastructure.postgres.engine import Database

BATCH = 200
MOST_PASSES = 5

_PAGE = "SELECT id, tokens FROM calendar_connections WHERE id > $1 ORDER BY id LIMIT $2"
# No lock: a row that was written since it was read is left, and the next pass reads it.
_RESEAL = """
UPDATE calendar_connections c SET tokens = fresh.tokens
FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS fresh(id, was, tokens)
WHERE c.id = fresh.id AND c.tokens = fresh.was
RETURNING c.id
"""


@dataclass(frozen=True, slots=True)
class Resealed:
    """`broken` do not open with any key."""

    resealed: int
    broken: list[UUID]


async def reseal(database: Database, box: SecretBox) -> Resealed:
    """In passes until one finds nothing to do: a process with old settings may still be sealing with the old key."""
    total = 0
    for _ in range(MOST_PASSES):
        done, missed, broken = await _pass(database, box)
        total += done
        if not missed:
            break
    return Resealed(total, broken)


async def _pass(database: Database, box: SecretBox) -> tuple[int, int, list[UUID]]:
    """How many were sealed anew, how many were changed by others meanwhile, and which cannot be opened."""
    done, missed, broken = 0, 0, list[UUID]()
    after = UUID(int=0)
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(_PAGE, after, BATCH)
        if not rows:
            return done, missed, broken
        after = rows[-1]["id"]
        fresh: list[tuple[UUID, bytes, bytes]] = []
        for row in rows:
            if box.is_current(row["tokens"]):
                continue
            where = place(ConnectionId(row["id"]))
            try:
                fresh.append((row["id"], row["tokens"], box.seal(box.open(row["tokens"], where), where)))
            except SealBroken:
                broken.append(row["id"])
        if fresh:
            async with database.connection() as connection:
                changed = await connection.fetch(_RESEAL, *(list(each) for each in zip(*fresh, strict=True)))
            done += len(changed)
            missed += len(fresh) - len(changed)
