"""`convene payments`: lists payments and compares them with the gateways' records."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import click

from application.ports import PageRequest
from domain.disputes import DisputeStatus
from domain.payments import PaymentStatus
from infrastructure.settings import load_settings
from interfaces.cli.environment import command_environ
from interfaces.cli.outbox import Since
from interfaces.cli.pages import moment, next_page, one_line, page_options, print_json_page
from interfaces.cli.problems import Problem

if TYPE_CHECKING:
    from application.payments.audit import Audit
    from application.payments.ports.reconciliation import BookedPayment
    from infrastructure.container.payment_audit import AuditParts

Answer = TypeVar("Answer")


@click.group()
def payments() -> None:
    """List payments, and compare them with the gateways."""


@payments.command()
@click.option("--since", type=Since(), metavar="TIME", help="Only payments since this time (7d, 2026-11-20 ...).")
def check(since: datetime | None) -> None:
    """Compare the stored payments with the gateways' records and list every mismatch. The exit status is 1 if there is
    one."""
    audit = _ask(lambda parts: parts.audit_payments(since=since))
    for line in _findings(audit):
        click.echo(one_line(line, 500))
    compared = f"{audit.compared} payment{'' if audit.compared == 1 else 's'} compared"
    click.echo(f"{compared}, {audit.findings} to check" if audit.findings else f"{compared}, nothing to check")
    sys.exit(1 if audit.findings else 0)


@payments.command("list")
@click.option("--status", type=click.Choice([*map(str, PaymentStatus), "all"]), default="all", show_default=True)
@click.option("--dispute", type=click.Choice(list(map(str, DisputeStatus))), help="Only payments whose dispute is so.")
@page_options
def list_(status: str, dispute: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """List payments, newest first."""
    wanted = None if status == "all" else PaymentStatus(status)
    disputed = None if dispute is None else DisputeStatus(dispute)
    found = _ask(lambda parts: parts.audit.newest(status=wanted, dispute=disputed, page=PageRequest(limit, cursor)))
    if as_json:
        print_json_page([_entry(booked) for booked in found.items], found.next)
        return
    for booked in found.items:
        payment = booked.payment
        back = "" if payment.refunded.is_zero else f", refund of {payment.refunded} requested"
        back += "" if payment.dispute is None else f", dispute {payment.dispute}"
        where = f"{payment.gateway} {payment.order_id}" if payment.order_id else payment.gateway
        line = f"{moment(booked.created_at)} {booked.reference} {payment.status} {payment.price}{back} ({where})"
        click.echo(one_line(line, 500))
    if not found.items:
        click.echo("no payments")
    if found.next is not None:
        click.echo(next_page(found.next))


@payments.command("settle-difference")
@click.argument("difference_id", type=click.IntRange(1, 2**63 - 1), metavar="ID")
@click.option("--note", required=True, help="What was done about the mismatch.")
def settle_difference(difference_id: int, note: str) -> None:
    """Mark a mismatch that `check` lists as reported as settled. It stays stored and is not listed any more."""
    if not (note := one_line(note, 500).strip()):
        raise click.UsageError("give --note: what was done about it")
    if not _ask(lambda parts: parts.mismatches.settle(difference_id, note)):
        raise Problem(f"there is no open mismatch {difference_id}: see `convene payments check`")
    click.echo(f"mismatch {difference_id} is settled")


def _entry(booked: "BookedPayment") -> dict[str, object]:
    """A payment as JSON. Amounts are strings, so that programs do not parse them as binary fractions."""
    payment = booked.payment
    return {
        "id": payment.id,
        "reference": booked.reference,
        "status": payment.status,
        "amount": payment.price.amount,
        "currency": payment.price.currency,
        "refunds_requested": payment.refunded.amount,
        "refunded": booked.given_back.amount,
        "dispute": payment.dispute,
        "charged_back": payment.charged_back,
        "gateway": payment.gateway,
        "order_id": payment.order_id,
        "created_at": booked.created_at,
    }


def _findings(audit: "Audit") -> Iterator[str]:
    for gateway, said in audit.away.items():
        missed = audit.missed[gateway]
        yield f"away: {gateway}, {missed} payment{'' if missed == 1 else 's'} not compared: {said}"
    for each in audit.mismatches:
        payment = each.booked.payment
        yield f"different: {each.booked.reference} ({payment.gateway} {payment.order_id}): {each.why}"
    for kept in audit.kept:
        what = f"{moment(kept.seen_at)} {kept.gateway} {kept.order_id or ''}: {kept.why}"
        yield f"reported: {what}; `convene payments settle-difference {kept.id} --note ...` closes it"
    for refund in audit.stuck:
        state = "the gateway failed to refund it" if refund.failed else "not refunded yet"
        requested = f"{refund.amount} requested {moment(refund.requested_at)}"
        yield f"refund: {refund.reference} ({refund.gateway}): {requested}, {state}"
    for job in audit.dead:
        why = job.last_error or "given up"
        yield f"dead: {job.message_type} of {job.ordering_key}: {why}; `convene outbox replay {job.id}` tries again"


def _ask(question: "Callable[[AuditParts], Awaitable[Answer]]") -> Answer:
    settings = load_settings(command_environ())

    from domain.errors import Unavailable
    from infrastructure.container.payment_audit import build_audit

    async def answer() -> Answer:
        parts = build_audit(settings)
        try:
            return await question(parts)
        except Unavailable:
            raise Problem("the database is unavailable: check DATABASE_URL, or run `convene doctor`") from None
        finally:
            await parts.close()

    return asyncio.run(answer())
