"""Re-encryption of stored tokens with the new key, while other processes read them."""

from dataclasses import dataclass
from uuid import UUID

from domain.calendars import ConnectionId
from infrastructure.auth.token_encryption import SealBroken, SecretBox
from infrastructure.postgres.calendars.connections import place
from infrastructure.postgres.engine import Database

BATCH = 200
MOST_PASSES = 5

_PAGE = "SELECT id, tokens FROM calendar_connections WHERE id > $1 ORDER BY id LIMIT $2"
# No lock: a row that was changed since it was read is skipped, and the next pass reads it again.
_RESEAL = """
UPDATE calendar_connections c SET tokens = fresh.tokens
FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS fresh(id, was, tokens)
WHERE c.id = fresh.id AND c.tokens = fresh.was
RETURNING c.id
"""


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """`broken`: connections whose tokens cannot be decrypted with any key."""

    resealed: int
    broken: list[UUID]


async def reencrypt(database: Database, box: SecretBox) -> Reencrypted:
    """Repeats passes until one finds no old key, because a process with old settings may still encrypt with it."""
    total = 0
    for _ in range(MOST_PASSES):
        done, missed, broken = await _reencrypt_batch(database, box)
        total += done
        if not missed:
            break
    return Reencrypted(total, broken)


async def _reencrypt_batch(database: Database, box: SecretBox) -> tuple[int, int, list[UUID]]:
    """Returns how many were re-encrypted, how many were changed concurrently, and which cannot be decrypted."""
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
