"""Connections to PostgreSQL through a pooler that lends a server connection for one transaction, such as PgBouncer in
transaction mode."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

_PASSED_ON = frozenset({"application_name", "client_encoding", "datestyle", "timezone"})
"""Parameters that PgBouncer accepts at the start of a session and sets on each server connection that it lends."""


@dataclass(frozen=True, slots=True)
class Pooler:
    """How a process reaches PostgreSQL.

    `transactions`: through a pooler that lends a server connection for one transaction. Nothing of a session remains
    there: settings are made in each transaction, and every statement is in one.
    `prepared_statements`: whether a statement is prepared once for many uses. PgBouncer forwards them from version 1.21
    on, with `max_prepared_statements`.
    """

    transactions: bool = False
    prepared_statements: bool = True

    def connect_options(
        self,
        settings: Mapping[str, str],
        connection: "type[asyncpg.Connection[asyncpg.Record]] | None" = None,
    ) -> dict[str, Any]:
        """Arguments of `asyncpg.connect`, so that `settings` hold for every statement of that connection."""
        options: dict[str, Any] = {} if self.prepared_statements else {"statement_cache_size": 0}
        at_start = settings
        if self.transactions:
            at_start = {name: value for name, value in settings.items() if name in _PASSED_ON}
            statements = "".join(
                f"SET LOCAL {name} = '{value}';" for name, value in settings.items() if name not in at_start
            )
            # Settings are read by commands that need no driver.
            from servicekit.lent_connections import connection_class

            connection = connection_class(statements, connection)
        if connection is not None:
            options["connection_class"] = connection
        return options | {"server_settings": dict(at_start)}


DIRECT = Pooler()
ANY_POOLER = Pooler(transactions=True, prepared_statements=False)
"""What works with every pooler, and without one."""
