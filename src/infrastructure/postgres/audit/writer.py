"""Writes the entries of a trail, in the transaction of the changes."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import AuditEntry, AuditTrail
from servicekit.database import Connection

_COLUMNS = "actor_kind, actor_id, network, action, object_kind, object_id, before, after, request_id"
_INSERT = f"""
INSERT INTO audit_log ({_COLUMNS})
SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::audit_log, CAST(CAST($1 AS text) AS jsonb))
"""  # noqa: S608
_INSERT_IN_SESSION = text(_INSERT.replace("NULL::audit_log", "CAST(NULL AS audit_log)").replace("$1", ":entries"))


async def write_in_session(session: AsyncSession, trail: AuditTrail) -> None:
    entries, trail.entries = trail.entries, []
    if entries:
        await session.execute(_INSERT_IN_SESSION, {"entries": _as_json(entries)})


async def write_on(connection: Connection, trail: AuditTrail) -> None:
    entries, trail.entries = trail.entries, []
    if entries:
        await connection.execute(_INSERT, _as_json(entries))


def _as_json(entries: Sequence[AuditEntry]) -> str:
    return json.dumps([_columns(entry) for entry in entries])


def _columns(entry: AuditEntry) -> dict[str, Any]:
    return {
        "actor_kind": entry.actor.kind,
        "actor_id": entry.actor.id,
        "network": entry.network,
        "action": entry.action,
        "object_kind": entry.audited.kind,
        "object_id": entry.audited.id,
        "before": entry.before,
        "after": entry.after,
        "request_id": entry.request_id,
    }
