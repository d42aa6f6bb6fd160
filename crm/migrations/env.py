"""Alembic's entry: runs the revisions on the connection, and in the transaction, that the caller opened."""

from alembic import context

from servicekit.uuidv7 import ENSURE_UUIDV7

connection = context.config.attributes["connection"]
connection.exec_driver_sql(ENSURE_UUIDV7)
context.configure(connection=connection, version_table="crm_schema_version")
with context.begin_transaction():
    context.run_migrations()
