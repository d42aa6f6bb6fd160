"""Lists of audit entries."""

from typing import Any

from application.audit.ports import AuditFilter, AuditPosition
from application.ports import Page, PageRequest
from domain.audit import AuditActor, Audited, AuditEntryId, StoredAuditEntry
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import cursor_of, moment_and_id_after

COLUMNS = (
    "id, at, actor_kind, actor_id, network, action, object_kind, object_id, before, after, request_id, previous_hash,"
    " hash"
)


class PostgresAuditQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, filter_: AuditFilter, page: PageRequest) -> Page[StoredAuditEntry]:
        where, values = _where(filter_, page.after)
        statement = f"SELECT {COLUMNS} FROM audit_log {where} {_NEWEST} LIMIT ${len(values) + 1}"  # noqa: S608
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement, *values, page.limit + 1)
        found = [stored_entry(row) for row in rows[: page.limit]]
        return Page(found, cursor_of(found[-1].at, found[-1].id) if len(rows) > page.limit else None)

    async def last_of(self, filter_: AuditFilter, page: PageRequest) -> AuditPosition | None:
        where, values = _where(filter_, page.after)
        statement = f"SELECT at, id FROM audit_log {where} {_NEWEST} OFFSET ${len(values) + 1} LIMIT 2"  # noqa: S608
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement, *values, page.limit - 1)
        return AuditPosition(rows[0]["id"], cursor_of(*rows[0])) if len(rows) == 2 else None


_NEWEST = "ORDER BY at DESC, id DESC"


def _where(filter_: AuditFilter, after: str | None) -> tuple[str, list[Any]]:
    """The clause and its parameters. Raises `Invalid` for a cursor of another list."""
    moment, number = moment_and_id_after(after)
    conditions, values = _conditions(
        {
            "actor_kind = {}": filter_.actor_kind,
            "actor_id = {}": filter_.actor_id,
            "action = {}": filter_.action,
            "object_kind = {}": filter_.object_kind,
            "object_id = {}": filter_.object_id,
            "at >= {}": filter_.since,
            "at < {}": filter_.until,
        }
    )
    if moment is not None:
        values += [moment, number]
        conditions.append(f"(at, id) < (${len(values) - 1}, ${len(values)})")
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", values


def _conditions(wanted: dict[str, Any]) -> tuple[list[str], list[Any]]:
    """The conditions of the given values, with their parameters."""
    given = {condition: value for condition, value in wanted.items() if value is not None}
    return [condition.format(f"${place}") for place, condition in enumerate(given, 1)], [*given.values()]


def stored_entry(row: Any) -> StoredAuditEntry:
    return StoredAuditEntry(
        id=AuditEntryId(row["id"]),
        at=row["at"],
        actor=AuditActor(row["actor_kind"], row["actor_id"]),
        network=row["network"],
        action=row["action"],
        audited=Audited(row["object_kind"], row["object_id"]),
        before=row["before"],
        after=row["after"],
        request_id=row["request_id"],
        previous_hash=row["previous_hash"],
        hash=row["hash"],
    )
