"""Alembic's entry: runs the revisions on the connection of `Migrations`, each in its own transaction."""

from alembic import context

context.configure(**context.config.attributes, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
