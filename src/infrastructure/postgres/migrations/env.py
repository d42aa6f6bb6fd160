"""Alembic's entry: runs inside the connection and transaction that `migrations` opened."""

from alembic import context
from sqlalchemy import text

from infrastructure.postgres.migrations import ADVISORY_LOCK
from infrastructure.postgres.tables import metadata
from servicekit.uuidv7 import ENSURE_UUIDV7

connection = context.config.attributes["connection"]
connection.execute(text("SET LOCAL lock_timeout = '5s'"))
connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
connection.exec_driver_sql(ENSURE_UUIDV7)
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
