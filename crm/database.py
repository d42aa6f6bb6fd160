"""The CRM's PostgreSQL."""

from servicekit.database import Connection, ConnectionPool, Timeouts
from servicekit.pooler import DIRECT, Pooler

__all__ = ["Connection", "Database", "DatabaseUnavailable"]


class DatabaseUnavailable(Exception):
    """The database did not answer in time, or not at all; nothing is known to have been committed."""


class Database(ConnectionPool):
    """A small pool. Raises `DatabaseUnavailable`."""

    def __init__(self, dsn: str, *, pool_size: int = 4, timeout: float = 4, pooler: Pooler = DIRECT) -> None:
        super().__init__(
            dsn,
            size=pool_size,
            unavailable=DatabaseUnavailable,
            server_settings={"application_name": "convene-crm"},
            timeouts=Timeouts(timeout),
            pooler=pooler,
        )
