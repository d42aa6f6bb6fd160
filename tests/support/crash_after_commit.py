"""A process that died between the commit of a request with an idempotency key and its answer."""

import asyncpg

_DIED = """
UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL, leased_until = now() - interval '1 minute'
WHERE key = $1 RETURNING committed AND made IS NOT NULL
"""


async def died_after_the_commit(database: asyncpg.Connection, key: str) -> None:
    """Its lease is over by now. Fails where the request has not named what it made."""
    assert await database.fetchval(_DIED, key), "nothing was committed under the key, or it names nothing"
