"""Adapters of the application's ports in memory, with the rules of the database: transactions with rollback, unique
keys, foreign keys and order.

They run use cases in microseconds. Each port has one conformance suite that runs against these adapters and against
those for PostgreSQL (`tests/conformance/`). Locks and concurrent transactions cannot be imitated: they are tested on
PostgreSQL.
"""
