"""Messages that are held until their address is verified."""

from infrastructure.postgres.engine import Database

RELEASED = "status = 'pending', attempts = 0, due_at = now(), settled_at = NULL"
"""`held_for` stays: it shows that the message was held."""

# In the transaction that verifies the address. What is beyond the number is left to `_RELEASE`.
RELEASE_OF_ADDRESS = f"""
UPDATE outbox SET {RELEASED} WHERE id IN (
    SELECT id FROM outbox WHERE status = 'held' AND held_for = :address
    ORDER BY seq LIMIT 500
    FOR UPDATE SKIP LOCKED)
"""  # noqa: S608 (composed of constants)

# Steps from one address in `ix_outbox_held` to the next: an address that is still limited costs one look, however many
# messages are held for it.
_RELEASE = f"""
WITH RECURSIVE addresses AS (
    (SELECT held_for FROM outbox WHERE status = 'held' ORDER BY held_for LIMIT 1)
    UNION ALL
    SELECT (SELECT held_for FROM outbox WHERE status = 'held' AND held_for > addresses.held_for
            ORDER BY held_for LIMIT 1)
    FROM addresses WHERE addresses.held_for IS NOT NULL
), released AS MATERIALIZED (
    SELECT message.id FROM addresses
    JOIN users ON users.email = addresses.held_for AND (users.is_verified OR NOT users.mail_limited)
    CROSS JOIN LATERAL (
        SELECT id FROM outbox WHERE status = 'held' AND held_for = addresses.held_for
        ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED) message
    LIMIT $1
)
UPDATE outbox SET {RELEASED} FROM released WHERE outbox.id = released.id
"""  # noqa: S608 (composed of constants)


class PostgresHeldMessages:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def release(self, *, limit: int) -> int:
        async with self._database.connection() as connection:
            done = await connection.execute(_RELEASE, limit)
        return int(done.rpartition(" ")[2])
