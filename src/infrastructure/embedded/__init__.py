"""The real PostgreSQL and Redis, started and watched by us: one SQL dialect and one queue on every machine.

Linux and macOS. The servers listen on unix sockets in a directory only their owner may enter, so no port is taken
and no password is needed.
"""

from infrastructure.embedded.errors import EmbeddedError
from infrastructure.embedded.postgres import EmbeddedPostgres
from infrastructure.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedRedis"]
