"""The outbox in PostgreSQL: writing, claiming and recording messages."""
