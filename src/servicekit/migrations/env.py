"""Alembic's entry: runs the revisions on the connection, and in the transaction, that `Migrations` opened."""

from alembic import context

context.configure(**context.config.attributes)
context.run_migrations()
