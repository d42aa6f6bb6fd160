"""Re-encryption of stored secrets with the new key, while other processes read them."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from infrastructure.auth.token_encryption import SealBroken, SecretBox
from infrastructure.postgres.engine import Database

BATCH = 200
MOST_PASSES = 5


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of encrypted secrets; the owner of the table has the statements.

    - `page`: `id` and `sealed` of rows after the id $1 in the order of ids, at most $2.
    - `reseal`: sets the secrets $3 of the rows $1 that still have the secrets $2, and returns their ids. It needs no
      lock: a row that was changed since it was read is skipped, and the next pass reads it again.
    - `place`: what the encryption authenticates.
    """

    page: str
    reseal: str
    place: Callable[[UUID], str]


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """`broken`: rows whose secrets cannot be decrypted with any key."""

    resealed: int
    broken: list[UUID]


async def reencrypt(database: Database, box: SecretBox, column: SealedColumn) -> Reencrypted:
    """Repeats passes until one finds no old key, because a process with old settings may still encrypt with it."""
    total = 0
    for _ in range(MOST_PASSES):
        done, missed, broken = await _reencrypt_batch(database, box, column)
        total += done
        if not missed:
            break
    return Reencrypted(total, broken)


async def _reencrypt_batch(database: Database, box: SecretBox, column: SealedColumn) -> tuple[int, int, list[UUID]]:
    """Returns how many were re-encrypted, how many were changed concurrently, and which cannot be decrypted."""
    done, missed, broken = 0, 0, list[UUID]()
    after = UUID(int=0)
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(column.page, after, BATCH)
        if not rows:
            return done, missed, broken
        after = rows[-1]["id"]
        fresh: list[tuple[UUID, bytes, bytes]] = []
        for row in rows:
            if box.is_current(row["sealed"]):
                continue
            where = column.place(row["id"])
            try:
                fresh.append((row["id"], row["sealed"], box.seal(box.open(row["sealed"], where), where)))
            except SealBroken:
                broken.append(row["id"])
        if fresh:
            async with database.connection() as connection:
                changed = await connection.fetch(column.reseal, *(list(each) for each in zip(*fresh, strict=True)))
            done += len(changed)
            missed += len(fresh) - len(changed)
