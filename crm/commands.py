"""What `python -m crm migrate` and `python -m crm openapi` run. A process that serves does not import it."""

from __future__ import annotations

import sys

import asyncpg
import msgspec
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from crm import migrations
from crm.api.openapi import document
from crm.app import create_app
from crm.server_check import StartError, one_line
from crm.settings import load_settings
from servicekit.logging import configure_logging
from servicekit.migrations import MigrationBlocked

DRAWING = {
    "CRM_DATABASE_URL": "postgresql://none@localhost/none",
    "CRM_BEARER_TOKEN": "none",
    "CONVENE_EMBEDDED": "1",
}
"""Enough to put the application together and describe it; nothing of it is opened."""


def migrate(dsn: str, revision: str, log_level: str) -> None:
    """Brings the database at `dsn` to `revision`. Raises `StartError`."""
    configure_logging(log_level)
    try:
        migrations.upgrade(dsn, revision, report=lambda sentence: sys.stderr.write(f"crm: {sentence}\n"))
    except MigrationBlocked as error:
        raise StartError(str(error)) from error
    except CommandError as error:
        raise StartError(f"the database has a schema this version does not know ({error}): update the CRM") from error
    except (SQLAlchemyError, asyncpg.PostgresError, OSError) as error:
        raise StartError(f"the migration failed, what was done before is kept: {one_line(error)}") from error


def description() -> str:
    """The OpenAPI document, as indented JSON."""
    app = create_app(load_settings(DRAWING))
    return msgspec.json.format(msgspec.json.encode(document(app)), indent=2).decode()
