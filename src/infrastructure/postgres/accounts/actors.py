"""The account of an access token or an API key, looked up at every request in one round trip. Concurrent lookups share
a query."""

from collections.abc import Collection, Mapping

from domain.accounts import LoginId, User, UserId
from domain.api_keys import ApiKey
from domain.errors import Unavailable
from infrastructure.postgres.accounts.api_keys import KEY_COLUMNS, key_of_record
from infrastructure.postgres.accounts.repository import user_of_record
from infrastructure.postgres.batch_loader import BatchLoader
from infrastructure.postgres.engine import Database
from servicekit.queued_lookups import QueuedLookups

_USER = """u.id, u.uuid, u.email, u.name, u.role, u.phone, u.is_active, u.is_verified, u.token_version, u.created_at,
       u.google_id, u.profile_picture, u.timezone, u.requested_role"""
_OF_LOGIN = f"""
SELECT {_USER} FROM users u JOIN logins l ON l.user_id = u.id WHERE u.id = $1 AND l.id = $2 AND l.ended_at IS NULL
"""  # noqa: S608
_OF_LOGINS = f"""
SELECT {_USER}, l.id AS login_id
FROM unnest($1::bigint[], $2::uuid[]) AS asked(user_id, login_id)
JOIN users u ON u.id = asked.user_id
JOIN logins l ON l.user_id = u.id AND l.id = asked.login_id AND l.ended_at IS NULL
"""  # noqa: S608
_KEY = ", ".join(f"k.{column} AS key_{column}" for column in KEY_COLUMNS)
_OF_KEYS = f"""
SELECT {_USER}, k.fingerprint, {_KEY}
FROM api_keys k JOIN users u ON u.id = k.user_id
WHERE k.fingerprint = ANY ($1::bytea[]) AND k.revoked_at IS NULL
"""  # noqa: S608

KeyOwner = tuple[User, ApiKey]


class PostgresActorQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, user_id: UserId, login_id: LoginId) -> User | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_OF_LOGIN, user_id, login_id)
        return user_of_record(row) if row else None

    async def find_all(self, asked: Collection[tuple[UserId, LoginId]]) -> Mapping[tuple[UserId, LoginId], User]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OF_LOGINS, *([each[place] for each in asked] for place in (0, 1)))
        return {(UserId(row["id"]), LoginId(row["login_id"])): user_of_record(row) for row in rows}

    async def find_by_key(self, fingerprint: bytes) -> KeyOwner | None:
        return (await self.find_all_by_key([fingerprint])).get(fingerprint)

    async def find_all_by_key(self, fingerprints: Collection[bytes]) -> Mapping[bytes, KeyOwner]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OF_KEYS, list(fingerprints))
        return {row["fingerprint"]: (user_of_record(row), key_of_record(row, "key_")) for row in rows}


class QueuedActorQueries:
    """For requests: a lookup that comes while another one is under way waits for it, and shares the next query with
    others that wait. Nothing is kept, so the end of an access takes effect at the next request."""

    def __init__(self, queries: PostgresActorQueries, *, seconds: float) -> None:
        """`seconds`: the longest wait of a lookup."""
        self._find = QueuedLookups(
            lambda asked: queries.find(*asked), queries.find_all, unavailable=Unavailable, seconds=seconds
        )
        self._find_by_key = QueuedLookups(
            queries.find_by_key, queries.find_all_by_key, unavailable=Unavailable, seconds=seconds
        )

    async def find(self, user_id: UserId, login_id: LoginId) -> User | None:
        return await self._find((user_id, login_id))

    async def find_by_key(self, fingerprint: bytes) -> KeyOwner | None:
        return await self._find_by_key(fingerprint)


class ActorLoader:
    """Batches the lookups of open connections, which authenticate repeatedly; each lookup takes a moment longer."""

    def __init__(self, reader: PostgresActorQueries) -> None:
        self._find = BatchLoader(reader.find_all, window=0.25)
        self._find_by_key = BatchLoader(reader.find_all_by_key, window=0.25)

    async def find(self, user_id: UserId, login_id: LoginId) -> User | None:
        return await self._find((user_id, login_id))

    async def find_by_key(self, fingerprint: bytes) -> KeyOwner | None:
        return await self._find_by_key(fingerprint)
