"""Embedded servers: real PostgreSQL and Redis as supervised child processes, on Linux and macOS.

The servers listen on unix sockets in a directory that only their owner can access, so they need no port and no
password.
"""

from infrastructure.embedded.errors import EmbeddedError
from infrastructure.embedded.postgres import EmbeddedPostgres
from infrastructure.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedRedis"]
