"""OAuth attempts: each of the two steps is one statement."""

from datetime import datetime

from application.oauth import Attempt
from infrastructure.postgres.engine import Database

KEEP = """
WITH old AS (
    SELECT state FROM oauth_attempts WHERE started_at < $6 ORDER BY started_at LIMIT 100 FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM oauth_attempts USING old WHERE oauth_attempts.state = old.state
)
INSERT INTO oauth_attempts (state, browser, nonce, verifier, started_at) VALUES ($1, $2, $3, $4, $5)
"""
RESERVE = """
DELETE FROM oauth_attempts WHERE state = $1 AND browser = $2 AND started_at >= $3 RETURNING nonce, verifier, started_at
"""


class PostgresAttempts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, attempt: Attempt, *, forget_before: datetime) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                KEEP,
                attempt.state,
                attempt.browser,
                attempt.nonce,
                attempt.verifier,
                attempt.started_at,
                forget_before,
            )

    async def take(self, state: bytes, browser: bytes, *, not_before: datetime) -> Attempt | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(RESERVE, state, browser, not_before)
        return Attempt(state, browser, row["nonce"], row["verifier"], row["started_at"]) if row else None
