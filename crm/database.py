"""The CRM's PostgreSQL."""

from servicekit.database import Connection, ConnectionPool, Timeouts

__all__ = ["Connection", "Database", "DatabaseUnavailable"]

POOL_SIZE = 4


class DatabaseUnavailable(Exception):
    """The database did not answer in time, or not at all; nothing is known to have been committed."""


class Database(ConnectionPool):
    """A small pool. Raises `DatabaseUnavailable`."""

    def __init__(self, dsn: str, timeout: float = 4) -> None:
        super().__init__(
            dsn,
            size=POOL_SIZE,
            unavailable=DatabaseUnavailable,
            server_settings={"application_name": "convene-crm"},
            timeouts=Timeouts(timeout),
        )
