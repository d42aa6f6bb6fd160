"""The audit log, for admins."""

import re
from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.params import FromQuery
from msgspec import Struct

from application.audit.ports import AuditFilter
from application.audit.reading import MOST_EXPORTED, AuditExport, ReadAuditLog
from application.ports import DEFAULT_PAGE, PageRequest
from domain.api_keys import Scope
from domain.audit import ActorKind, AuditAction, AuditedKind
from domain.errors import Invalid
from interfaces.audit_entries import CSV_HEAD, as_csv, fields_of
from interfaces.http.authentication import admins
from interfaces.http.csv_streams import ALSO_CSV, CSV, CsvStream
from interfaces.http.injection import Inject
from interfaces.http.parameters import Converter, Cursor, PageSize, instant, member_of
from interfaces.http.schemas import next_link, object_page

TAGS = ["Admins"]

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
_ID_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 64}
_TIME_SCHEMA = {"type": "string", "format": "date-time"}


class AuditLogEntry(Struct):
    id: int
    at: datetime
    actor_kind: str
    actor_id: str | None
    network: str | None
    action: str
    object_kind: str
    object_id: str | None
    before: dict[str, str | int | bool | None] | None
    after: dict[str, str | int | bool | None] | None
    request_id: str | None
    previous_hash: str | None
    hash: str | None


class AuditLogPage(Struct):
    entries: list[AuditLogEntry]
    next_cursor: str | None


class AuditFormat(StrEnum):
    JSON = "json"
    CSV = "csv"


def _id(name: str, text: str) -> str:
    if not _ID.fullmatch(text):
        raise Invalid({name: "Must be an id of at most 64 letters, digits, - and _"})
    return text


ActorKindFilter = Annotated[
    ActorKind | None, member_of(ActorKind, "Only entries of actors of this kind.", "Must be one of {}")
]
ActorIdFilter = Annotated[
    str | None, Converter("Only entries of the actor with this id; needs `actor_kind`.", _ID_SCHEMA, _id)
]
ActionFilter = Annotated[
    AuditAction | None, member_of(AuditAction, "Only entries with this action.", "Must be one of {}")
]
ObjectKindFilter = Annotated[
    AuditedKind | None, member_of(AuditedKind, "Only entries about objects of this kind.", "Must be one of {}")
]
ObjectIdFilter = Annotated[
    str | None, Converter("Only entries about the object with this id; needs `object_kind`.", _ID_SCHEMA, _id)
]
Since = Annotated[
    datetime | None, Converter("Only entries since this time: RFC 3339, or a date, in UTC.", _TIME_SCHEMA, instant)
]
Until = Annotated[
    datetime | None, Converter("Only entries before this time: RFC 3339, or a date, in UTC.", _TIME_SCHEMA, instant)
]
Format = Annotated[
    AuditFormat | None,
    member_of(
        AuditFormat,
        f"`csv` exports the next {MOST_EXPORTED:,} entries; `limit` does not apply. By default as `Accept` prefers.",
        "Must be json or csv",
    ),
]


@get("/admin/audit", operation_id="listAuditLog", tags=TAGS, guards=[admins.with_scope(Scope.ADMIN_READ)], opt=ALSO_CSV)
async def list_audit_log(
    request: Request[Any, Any, Any],
    read_audit_log: Inject[ReadAuditLog],
    actor_kind: FromQuery[ActorKindFilter] = None,
    actor_id: FromQuery[ActorIdFilter] = None,
    action: FromQuery[ActionFilter] = None,
    object_kind: FromQuery[ObjectKindFilter] = None,
    object_id: FromQuery[ObjectIdFilter] = None,
    since: FromQuery[Since] = None,
    until: FromQuery[Until] = None,
    format: FromQuery[Format] = None,  # noqa: A002 (the name of the parameter)
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[AuditLogPage]:
    """Entries of the audit log, newest first: who did what, when, from which network and on what. `before` and `after`
    have the changed fields. Names, addresses and texts appear as keyed hashes only.

    Each page and each export is recorded itself, with its filter.
    """
    for kind, number, name in ((actor_kind, actor_id, "actor_id"), (object_kind, object_id, "object_id")):
        if number is not None and kind is None:
            raise Invalid({name: f"Needs {name.removesuffix('_id')}_kind"})
    wanted = AuditFilter(actor_kind, actor_id, action, object_kind, object_id, since, until)
    if (format or _preferred(request)) is AuditFormat.CSV:
        export = await read_audit_log.export(wanted, cursor)
        return CsvStream(_lines(export), filename="audit.csv", headers=next_link(request, export.next))
    page = await read_audit_log(wanted, PageRequest(limit, cursor))
    return object_page(request, AuditLogPage([AuditLogEntry(**fields_of(entry)) for entry in page.items], page.next))


ROUTES = [list_audit_log]


def _preferred(request: Request[Any, Any, Any]) -> AuditFormat:
    best = request.accept.best_match(["application/json", CSV], "application/json")
    return AuditFormat.CSV if best == CSV else AuditFormat.JSON


async def _lines(export: AuditExport) -> AsyncIterator[str]:
    yield CSV_HEAD
    async for entries in export.entries:
        yield as_csv(entries)
