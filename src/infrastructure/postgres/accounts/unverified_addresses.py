"""Mails to addresses that are not verified, in PostgreSQL. An address is stored as a hash."""

from collections.abc import Collection, Mapping
from datetime import timedelta

from application.notifications.ports import AddressOwner
from domain.accounts import UserId
from domain.outbox import MessageId
from infrastructure.postgres.batch_loader import BatchLoader
from infrastructure.postgres.engine import Database

_OWNERS = """
SELECT id, email, mail_limited AND NOT is_verified AS is_limited FROM users WHERE email = ANY($1)
"""

# Both arrays have the last $3 mails, the oldest first. Two workers wait for each other's row, so the limit holds for
# concurrent mails. A message that is counted keeps its time.
_COUNT = """
INSERT INTO unverified_mails AS kept (address, message_ids, counted_at, last_at)
VALUES (sha256(convert_to($1, 'UTF8')), ARRAY[$2::uuid], ARRAY[clock_timestamp()], clock_timestamp())
ON CONFLICT (address) DO UPDATE SET
    message_ids = CASE WHEN $2 = ANY (kept.message_ids) THEN kept.message_ids
        ELSE (kept.message_ids || $2)[cardinality(kept.message_ids) + 2 - $3:] END,
    counted_at = CASE WHEN $2 = ANY (kept.message_ids) THEN kept.counted_at
        ELSE (kept.counted_at || clock_timestamp())[cardinality(kept.counted_at) + 2 - $3:] END,
    last_at = CASE WHEN $2 = ANY (kept.message_ids) THEN kept.last_at ELSE clock_timestamp() END
WHERE $2 = ANY (kept.message_ids) OR cardinality(kept.message_ids) < $3
    OR kept.counted_at[cardinality(kept.counted_at) + 1 - $3] <= clock_timestamp() - $4::interval
RETURNING true
"""

PRUNE_UNVERIFIED_MAILS = """
DELETE FROM unverified_mails WHERE address IN (
    SELECT address FROM unverified_mails WHERE last_at < now() - $1::interval
    ORDER BY last_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
"""$1: time since the last mail, $2: at most so many rows."""


class PostgresUnverifiedAddresses:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._find = BatchLoader(self._find_all, window=0.002)

    async def find(self, address: str) -> AddressOwner:
        return await self._find(address) or AddressOwner(is_limited=True, user_id=None)

    async def count(self, address: str, message_id: MessageId, *, at_most: int, per: timedelta) -> bool:
        async with self._database.connection() as connection:
            counted = await connection.fetchval(_COUNT, address, message_id, at_most, per)
        return counted is not None

    async def _find_all(self, addresses: Collection[str]) -> Mapping[str, AddressOwner]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OWNERS, list(addresses))
        return {row["email"]: AddressOwner(row["is_limited"], UserId(row["id"])) for row in rows}
