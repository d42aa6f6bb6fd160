"""Checks of external PostgreSQL and Redis servers: reachable, new enough, and with a database."""

import asyncio
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg
from redis import Redis
from redis.exceptions import RedisError

from infrastructure.embedded.errors import Unusable
from servicekit.pooler import ANY_POOLER, Pooler

_PATIENCE = 5.0
"""Seconds for one connection."""
_OLDEST = 16
"""The oldest version of PostgreSQL that the tests run on."""


def database_beside(dsn: str, suffix: str) -> str:
    """The address of the database on the same server whose name has `suffix` appended."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + suffix))


def ensure_database(dsn: str, setting: str) -> None:
    """Creates the database of `dsn` if it does not exist. Raises `Unusable`, naming `setting`."""
    if not asyncio.run(_exists(dsn, setting)):
        asyncio.run(_create_database(dsn, setting))


def check_database(dsn: str, setting: str, *, seconds: float = _PATIENCE, pooler: Pooler = ANY_POOLER) -> None:
    """Raises `Unusable`, naming `setting`, if the database does not respond in time, does not exist, is too old, or is
    not reached as `pooler` says."""
    if not asyncio.run(_exists(dsn, setting, seconds, pooler)):
        raise Unusable(f"the database {_database_name(dsn)} of {setting} does not exist: run `convene migrate`")


def check_redis(url: str) -> None:
    """Raises `Unusable` if no Redis responds at `url`."""
    try:
        with Redis.from_url(url, socket_connect_timeout=_PATIENCE, socket_timeout=_PATIENCE) as client:
            client.ping()
    except (RedisError, OSError, ValueError) as error:
        raise Unusable(f"Redis does not answer ({_short(error)}): start it, or correct REDIS_URL") from None


async def _exists(dsn: str, setting: str, seconds: float = _PATIENCE, pooler: Pooler = ANY_POOLER) -> bool:
    options = pooler.connect_options({"lock_timeout": f"{seconds * 1000:.0f}ms"})
    try:
        connection = await asyncpg.connect(dsn, timeout=seconds, **options)
    except asyncpg.InvalidCatalogNameError:
        return False
    except asyncpg.ProtocolViolationError as error:
        raise Unusable(f"{setting} leads to a pooler ({_short(error)}): set DATABASE_POOLER=transaction") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise Unusable(_error_response(urlsplit(dsn).hostname, error, setting)) from None
    try:
        if connection.get_server_version().major < _OLDEST:
            found = connection.get_server_version().major
            raise Unusable(f"{setting} names PostgreSQL {found}: version {_OLDEST} or newer is needed")
    finally:
        await connection.close()
    return True


async def _create_database(dsn: str, setting: str) -> None:
    name = _database_name(dsn)
    maintenance_dsn = urlunsplit(urlsplit(dsn)._replace(path="/postgres"))
    quoted = '"' + name.replace('"', '""') + '"'
    try:
        connection = await asyncpg.connect(maintenance_dsn, timeout=_PATIENCE)
        try:
            await connection.execute(f"CREATE DATABASE {quoted}")
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            return  # another process created it meanwhile
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise Unusable(
            f"the database {name} of {setting} does not exist and cannot be made ({_short(error)}): create it"
        ) from None


def _database_name(dsn: str) -> str:
    return unquote(urlsplit(dsn).path.strip("/"))


def _error_response(host: str | None, error: BaseException, setting: str) -> str:
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidPasswordError):
        return f"PostgreSQL refuses the user or password of {setting}: correct it"
    return f"PostgreSQL at {host or 'its socket'} cannot be reached ({_short(error)}): start it, or correct {setting}"


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
