"""The domain after the `@` in the UIDs of calendar entries (RFC 5545, 3.8.4.7). It is stored once and never changed.

If UIDs depended on PUBLIC_URL, a new address of the deployment would orphan all existing calendar entries.
"""

from infrastructure.postgres.engine import Database

_STORE = """
INSERT INTO calendar_identity (uid_domain) SELECT $1 WHERE NOT EXISTS (SELECT FROM calendar_identity)
ON CONFLICT DO NOTHING
"""


def uid(kind: str, id_column: str) -> str:
    """SQL for the UID of an entry; NULL while no domain is stored."""
    domain = "(SELECT uid_domain FROM calendar_identity WHERE only_row)"
    return f"('{kind}-' || {id_column} || '@' || {domain})"


class PostgresCalendarIdentity:
    """`host`: the host of PUBLIC_URL, which UIDs contained before the domain was stored."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def store(self) -> None:
        """Stores the domain unless one is stored. Raises `Unavailable`."""
        async with self._database.connection() as connection:
            await connection.execute(_STORE, self._host)
