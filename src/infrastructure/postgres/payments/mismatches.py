"""Mismatches between payments and gateways' updates. `PostgresPayments` records them."""

from infrastructure.postgres.engine import Database


class PostgresMismatches:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, mismatch_id: int, note: str) -> bool:
        async with self._database.connection() as connection:
            settled = await connection.fetchval(
                """UPDATE payment_differences SET settled_at = now(), settled_note = $2
                WHERE id = $1 AND settled_at IS NULL RETURNING id""",
                mismatch_id,
                note,
            )
        return settled is not None
