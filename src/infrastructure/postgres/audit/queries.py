"""Lists of audit entries."""

from typing import Any

from application.audit.ports import AuditFilter
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
        moment, number = moment_and_id_after(page.after)
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
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        values.append(page.limit + 1)
        statement = f"SELECT {COLUMNS} FROM audit_log {where} ORDER BY at DESC, id DESC LIMIT ${len(values)}"  # noqa: S608
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement, *values)
        found = [stored_entry(row) for row in rows[: page.limit]]
        return Page(found, cursor_of(found[-1].at, found[-1].id) if len(rows) > page.limit else None)


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
