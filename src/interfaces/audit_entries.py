"""Entries of the audit log as they are shown."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from domain.audit import StoredAuditEntry
from domain.time import as_utc
from interfaces.csv_lines import csv_lines


def fields_of(entry: StoredAuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": entry.at,
        "actor_kind": entry.actor.kind,
        "actor_id": entry.actor.id,
        "network": entry.network,
        "action": entry.action,
        "object_kind": entry.audited.kind,
        "object_id": entry.audited.id,
        "before": entry.before,
        "after": entry.after,
        "request_id": entry.request_id,
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }


COLUMNS = (
    *("id", "at", "actor_kind", "actor_id", "network", "action", "object_kind", "object_id", "before", "after"),
    *("request_id", "previous_hash", "hash"),
)
"""The names of these fields."""

CSV_HEAD = csv_lines([COLUMNS])


def as_csv(entries: Iterable[StoredAuditEntry]) -> str:
    """Lines with the cells of `COLUMNS`: times as RFC 3339 in UTC, changed fields as JSON."""
    return csv_lines([[_cell(value) for value in fields_of(entry).values()] for entry in entries])


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return as_utc(value).isoformat().replace("+00:00", "Z")
    return json.dumps(value) if isinstance(value, dict) else value
