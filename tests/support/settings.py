"""Settings as the tests need them."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from infrastructure.settings import Settings, load_settings

JWT_SECRET_KEY = "a key of the tests, 32 bytes long."
TOKEN_KEY = "t" * 32
DATABASE_TIMEOUT_SECONDS = "30"
"""Longer than by default: a busy machine is no outage. Tests of outages set their own."""
REQUEST_QUEUE_MS = "30000"
"""Longer than by default: a busy machine is no overload. Tests of overload set their own."""


def reached_directly(database_url: str) -> str:
    return database_url


class Reached:
    """How the services reach their databases; a run with TEST_PGBOUNCER changes it for all tests."""

    settings: ClassVar[dict[str, str]] = {}
    by: ClassVar[Callable[[str], str]] = staticmethod(reached_directly)


def settings_for(database_url: str, redis_url: str, data: Path, /, **changes: str) -> Settings:
    """`changes` are environment variables in lower case."""
    environ = {
        "DATABASE_URL": Reached.by(database_url),
        "REDIS_URL": redis_url,
        "CONVENE_DATA": str(data),
        "CONVENE_EMBEDDED": "1",
        "JWT_SECRET_KEY": JWT_SECRET_KEY,
        "CRM_BEARER_TOKEN": "a token of the tests",
        "BACKEND_SERVICE_TOKEN": "a-service-token-of-the-tests",
        "TOKEN_ENCRYPTION_KEYS": TOKEN_KEY,
        "RATE_LIMIT_ENABLED": "false",
        "PAYMENT_PROVIDER": "offline",
        "LOG_LEVEL": "warning",
        "CHANGE_MAIL_MERGE_MINUTES": "0",
        "DATABASE_TIMEOUT_SECONDS": DATABASE_TIMEOUT_SECONDS,
        "REQUEST_QUEUE_MS": REQUEST_QUEUE_MS,
    } | Reached.settings
    return load_settings(environ | {name.upper(): value for name, value in changes.items()})
