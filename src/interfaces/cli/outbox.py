"""`convene outbox`: messages by destination, dead letters, replay and discard."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

import click

from application.audit.ports import ORIGIN, by_operator
from application.outbox.dead_letters import ReplayMessages
from application.outbox.ports import (
    CircuitBreaker,
    DestinationStatistics,
    MessageFilter,
    Replay,
    StoredMessage,
)
from application.ports import Page, PageRequest
from domain.outbox import DISCARDABLE, REPLAY_RATE, SENT_AGAIN, Destination, MessageStatus
from domain.time import as_utc
from interfaces.cli.clocks import database_time
from interfaces.cli.environment import command_database
from interfaces.cli.pages import moment, next_page, one_line, page_options, print_json_page, table
from interfaces.cli.problems import Problem
from interfaces.cli.replay_progress import MOST_REPLAYED, Polling, follow, no_match

if TYPE_CHECKING:
    from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
    from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
    from infrastructure.postgres.outbox.statistics import PostgresDeliveryStatistics

Result = TypeVar("Result")


class OutboxOperations(NamedTuple):
    """The operations of these commands."""

    dead_letters: "PostgresDeadLetters"
    circuit_breakers: "PostgresCircuitBreakers"
    statistics: "PostgresDeliveryStatistics"


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Since(click.ParamType[datetime]):
    """An instant (`2026-11-20` or RFC 3339; UTC without an offset) or a duration before now (`90m`, `24h`)."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        number, unit = value[:-1], value[-1:]
        try:
            if unit in _UNITS and number.isascii() and number.isdecimal():
                return database_time() - timedelta(**{_UNITS[unit]: int(number)})
            return as_utc(datetime.fromisoformat(value))
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time: give one such as 2026-11-20T10:00Z, 2026-11-20, 90m, 24h or 7d", param, ctx
            )


_DESTINATION = click.option(
    "--destination", type=click.Choice([str(each) for each in Destination]), help="Only messages to this destination."
)
_SINCE = click.option(
    "--since", type=Since(), metavar="TIME", help="Only messages since this time (24h, 2026-11-20 ...)."
)
_MESSAGE = click.argument("message_id", type=click.UUID, metavar="ID")
_CHOSEN = click.argument("message_id", type=click.UUID, metavar="[ID]", required=False)


@click.group()
def outbox() -> None:
    """List, replay and discard messages."""


@outbox.command("list")
@click.option(
    "--status",
    type=click.Choice([*(str(each) for each in MessageStatus), "all"]),
    default="dead",
    show_default=True,
    help="Which messages.",
)
@_DESTINATION
@_SINCE
@page_options
def list_(
    status: str, destination: str | None, since: datetime | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """List messages, newest first; by default the dead ones."""
    wanted = None if status == "all" else MessageStatus(status)

    filter_ = MessageFilter(wanted, _destination(destination), since)

    async def read(operations: OutboxOperations) -> tuple[Page[StoredMessage], Sequence[DestinationStatistics]]:
        page = await operations.dead_letters.list(filter_, PageRequest(limit, cursor))
        return page, await operations.statistics.by_destination()

    messages, statistics = _run(read)
    not_served = list(filter(None, map(unserved_reason, statistics)))
    if as_json:
        print_json_page([_fields(message) for message in messages.items], messages.next, not_served=not_served)
        return
    click.echo(_table(messages.items) if messages.items else f"no {'' if wanted is None else wanted + ' '}messages")
    if messages.next is not None:
        click.echo(next_page(messages.next))
    for line in not_served:
        click.echo(line)


@outbox.command()
@_MESSAGE
def show(message_id: UUID) -> None:
    """Show one message with its attempts and its payload."""
    detail = _run(lambda operations: operations.dead_letters.show(message_id))
    attempts = [asdict(attempt) for attempt in detail.attempts_made]
    fields = _fields(detail.message) | {
        "settled_at": detail.settled_at,
        "request_id": detail.request_id,
        "in_flight": detail.in_flight,
    }
    width = max(map(len, fields))
    for name, value in fields.items():
        click.echo(f"{name.replace('_', ' '):{width}}  {_cell(value)}")
    click.echo(f"\n{len(attempts) or 'no'} attempt{'' if len(attempts) == 1 else 's'} made")
    for made in attempts:
        code = f" {made['status_code']}" if made["status_code"] else ""
        probe = ", a probe" if made["probe"] else ""
        moment, took = _cell(made["started_at"]), f"{made['took_ms']:>6} ms"
        click.echo(f"  {made['attempt']:>2}  {moment}  {took}  {made['result']}{code}{probe}")
        if made["detail"]:
            click.echo(f"      {one_line(made['detail'], 200)}")
    click.echo("\nas it was when it happened")
    click.echo(_printable(json.dumps(detail.payload, indent=2, ensure_ascii=False)))


@outbox.command()
@_CHOSEN
@_DESTINATION
@_SINCE
@click.option("--all", "everything", is_flag=True, help="Every dead message.")
@click.option(
    "--rate",
    type=click.IntRange(1, 1_000),
    default=REPLAY_RATE,
    show_default=True,
    help="Delivered messages that are sent again in a second.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until the delivered messages are sent again.")
def replay(
    message_id: UUID | None,
    destination: str | None,
    since: datetime | None,
    everything: bool,
    rate: int,
    no_wait: bool,
) -> None:
    """Send dead messages again: one by its ID, or those that the options select.

    With `--destination crm` and `--since`, messages that were delivered since then are sent again as well, for example
    to a CRM whose database was restored. They keep their ids and their order. The worker sends them, also when this
    command is interrupted.
    """
    chosen = [message_id is not None, bool(destination or since), everything]
    if sum(chosen) != 1:
        raise click.UsageError("say which: one ID, or --destination and --since, or --all")
    if message_id is not None:
        _run(lambda operations: operations.dead_letters.replay(message_id))
        click.echo("1 message will be sent again")
        return
    wanted = _destination(destination)
    again = wanted in SENT_AGAIN and since is not None

    async def start(operations: OutboxOperations) -> Replay:
        letters = operations.dead_letters
        if everything:
            return Replay(await letters.replay_all(destination=None, since=None), 0, await letters.kept())
        replay_messages = ReplayMessages(letters, Polling(), most=MOST_REPLAYED)
        return await replay_messages(destination=wanted, since=since, per_second=rate)

    started = _run(start)
    if not started.messages:
        click.echo(no_match(started.kept, "messages" if again else "dead messages"))
        return
    click.echo(f"{_count(started.messages)} will be sent again{f', {rate} a second' if again else ''}")
    if wanted and started.last and not no_wait:
        _run(lambda operations: follow(operations.dead_letters, wanted, started))


@outbox.command()
@_CHOSEN
@click.option(
    "--status",
    type=click.Choice([str(each) for each in DISCARDABLE]),
    default="dead",
    show_default=True,
    help="Which messages the other options select.",
)
@_DESTINATION
@_SINCE
def discard(message_id: UUID | None, status: str, destination: str | None, since: datetime | None) -> None:
    """Discard dead messages, or held ones, which are then never delivered: one by its ID, or those that the options
    select. They are deleted after the retention time of delivered messages.

    Held messages are mails to an address that is not verified.
    """
    if (message_id is not None) == bool(destination or since):
        raise click.UsageError("say which: one ID, or --destination and --since")
    if message_id is not None:
        _run(lambda operations: operations.dead_letters.discard(message_id))
        click.echo("1 message discarded")
        return
    wanted = _destination(destination)
    count = _run(
        lambda operations: operations.dead_letters.discard_all(
            destination=wanted, since=since, status=MessageStatus(status)
        )
    )
    click.echo(f"{_count(count)} discarded" if count else f"no {status} messages match")


@outbox.command()
@click.argument("destination", type=click.Choice([str(each) for each in Destination]))
def resume(destination: str) -> None:
    """Resume deliveries to a DESTINATION that is halted, paused or has an open circuit breaker."""
    resumed = _run(lambda operations: operations.circuit_breakers.resume(Destination(destination)))
    click.echo(
        f"deliveries to {destination} are resumed" if resumed else f"deliveries to {destination} were not stopped"
    )


def unserved_reason(destination: DestinationStatistics) -> str | None:
    """The reason why deliveries to the destination are stopped, on one line; None if they are not."""
    name, why = destination.destination, one_line(destination.reason or "", 100)
    if destination.halted:
        return f"{name} is halted until `convene outbox resume {name}`: {why}"
    if destination.paused_until is not None:
        return f"{name} requested a pause until {_cell(destination.paused_until)}: {why}"
    if destination.circuit is not CircuitBreaker.CLOSED:
        return f"{name} keeps failing and receives one probe every 30 s: {why}"
    return None


def _destination(name: str | None) -> Destination | None:
    return None if name is None else Destination(name)


def _count(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"


def _run(operation: Callable[[OutboxOperations], Awaitable[Result]]) -> Result:
    from domain.errors import Unavailable
    from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
    from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
    from infrastructure.postgres.outbox.statistics import PostgresDeliveryStatistics

    async def run() -> Result:
        ORIGIN.set(by_operator)
        database = command_database()
        try:
            parts = (
                PostgresDeadLetters(database),
                PostgresCircuitBreakers(database),
                PostgresDeliveryStatistics(database),
            )
            return await operation(OutboxOperations(*parts))
        except Unavailable:
            raise Problem("the database is unavailable: check DATABASE_URL, or run `convene doctor`") from None
        finally:
            await database.close()

    return asyncio.run(run())


def _table(messages: Sequence[StoredMessage]) -> str:
    heads = ("id", "destination", "fact", "lane", "status", "tries", "happened", "last error")
    rows = [
        (
            str(message.id),
            message.destination,
            message.message_type,
            message.ordering_key,
            message.status,
            str(message.attempts),
            _cell(message.occurred_at),
            one_line(message.last_error or "", 60),
        )
        for message in messages
    ]
    return table(heads, rows)


def _fields(message: StoredMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "destination": message.destination,
        "fact": message.message_type,
        "lane": message.ordering_key,
        "status": message.status,
        "attempts": message.attempts,
        "occurred_at": message.occurred_at,
        "due_at": message.due_at,
        "last_error": message.last_error,
    }


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else one_line(str(value), 300)


def _printable(document: str) -> str:
    """Equivalent JSON in which unusual characters (such as a reversed direction of writing) are escaped."""
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in document)
