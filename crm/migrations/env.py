"""Alembic's entry: runs the revisions on the connection, and in the transaction, that the caller opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="crm_schema_version")
with context.begin_transaction():
    context.run_migrations()
