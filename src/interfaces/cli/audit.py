"""`convene audit`: entries of the audit log."""

import json
from datetime import datetime
from typing import TYPE_CHECKING

import click

from application.audit.ports import AuditFilter
from application.ports import PageRequest
from domain.audit import ActorKind, AuditAction, AuditedKind, Fields
from interfaces.audit_entries import CSV_HEAD, as_csv, fields_of
from interfaces.cli.outbox import Since
from interfaces.cli.pages import moment, next_page, one_line, page_options, print_json_page, table
from interfaces.cli.use_cases import as_operator

if TYPE_CHECKING:
    from infrastructure.container import Container

_HEADS = ("id", "at", "actor", "action", "object", "before", "after")


@click.command()
@click.option("--actor-kind", type=click.Choice([*map(str, ActorKind)]), help="Only entries of actors of this kind.")
@click.option("--actor-id", metavar="ID", help="Only entries of the actor with this id; needs --actor-kind.")
@click.option("--action", type=click.Choice([*map(str, AuditAction)]), help="Only entries with this action.")
@click.option(
    "--object-kind", type=click.Choice([*map(str, AuditedKind)]), help="Only entries about objects of this kind."
)
@click.option("--object-id", metavar="ID", help="Only entries about the object with this id; needs --object-kind.")
@click.option("--since", type=Since(), metavar="TIME", help="Only entries since this time (24h, 2026-11-20 ...).")
@click.option("--until", type=Since(), metavar="TIME", help="Only entries before this time.")
@page_options
@click.option("--csv", is_flag=True, help="Print all entries as CSV, at most 100,000; --limit does not apply.")
def audit(
    actor_kind: str | None,
    actor_id: str | None,
    action: str | None,
    object_kind: str | None,
    object_id: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
    csv: bool,
) -> None:
    """List the audit log, newest first: who did what, when and on what. Reading it is recorded in it."""
    if as_json and csv:
        raise click.UsageError("--json and --csv exclude each other")
    if (actor_id and not actor_kind) or (object_id and not object_kind):
        raise click.UsageError("--actor-id needs --actor-kind, and --object-id needs --object-kind")
    wanted = AuditFilter(actor_kind, actor_id, action, object_kind, object_id, since, until)
    if csv:
        _print_csv(wanted, cursor)
        return
    page = as_operator(lambda parts: parts.administration.read_audit_log(wanted, PageRequest(limit, cursor)))
    if as_json:
        print_json_page([fields_of(entry) for entry in page.items], page.next)
        return
    rows = [
        (
            str(entry.id),
            moment(entry.at),
            _named(entry.actor.kind, entry.actor.id),
            one_line(entry.action, 40),
            _named(entry.audited.kind, entry.audited.id),
            _changed(entry.before),
            _changed(entry.after),
        )
        for entry in page.items
    ]
    click.echo(table(_HEADS, rows) if rows else "no entries")
    if page.next is not None:
        click.echo(next_page(page.next))


def _print_csv(wanted: AuditFilter, cursor: str | None) -> None:
    async def write(parts: "Container") -> str | None:
        export = await parts.administration.read_audit_log.export(wanted, cursor)
        click.echo(CSV_HEAD, nl=False)
        async for entries in export.entries:
            click.echo(as_csv(entries), nl=False)
        return export.next

    following = as_operator(write)
    if following is not None:
        click.echo(next_page(following), err=True)


def _named(kind: str, number: str | None) -> str:
    return one_line(kind if number is None else f"{kind} {number}", 60)


def _changed(fields: Fields | None) -> str:
    return "-" if fields is None else one_line(json.dumps(fields), 80)
