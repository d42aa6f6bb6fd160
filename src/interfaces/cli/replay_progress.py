"""The progress of a replay of delivered messages, and what is said when no message matches."""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Protocol

import click

from application.outbox.ports import KeptMessages, Replay
from domain.outbox import Destination
from interfaces.cli.pages import moment, table
from interfaces.cli.problems import Problem

MOST_REPLAYED = 10_000_000
"""Messages of one replay from the command line."""

_LOOK_EVERY = 1.0
_LINE_EVERY = 10.0
_STALLED_AFTER = 60.0
"""Seconds."""


class Polling:
    """Wakes no worker: it finds the messages within two seconds."""

    def notify(self) -> None:
        pass


class WaitingMessages(Protocol):
    async def waiting(self, destination: Destination, last: int) -> int: ...


async def follow(messages: WaitingMessages, destination: Destination, replay: Replay) -> None:
    """Shows a bar on a terminal, else a line every ten seconds, until no message of the replay is pending."""
    interactive, done = sys.stdout.isatty(), 0
    since = said = time.monotonic()
    with click.progressbar(length=replay.messages, label="sent again", hidden=not interactive) as bar:
        while True:
            left = min(await messages.waiting(destination, replay.last), replay.messages)
            now = time.monotonic()
            if replay.messages - left > done:
                bar.update(replay.messages - left - done)
                done, since = replay.messages - left, now
            if not left:
                break
            if not interactive and now - said >= _LINE_EVERY:
                click.echo(f"{done} of {replay.messages} sent again")
                said = now
            if now - since >= _STALLED_AFTER:
                raise Problem(
                    f"{left} of {replay.messages} messages wait in the outbox and none was sent for a minute:"
                    " `convene doctor` shows the reason"
                )
            await asyncio.sleep(_LOOK_EVERY)
    click.echo(f"all of them were sent: `convene outbox list --destination {destination}` shows what was refused")


def no_match(kept: Sequence[KeptMessages], wanted: str) -> str:
    """What there is instead of the messages that were sought."""
    if not kept:
        return f"no {wanted} match: the outbox is empty"
    rows = [(each.destination, str(each.status), moment(each.oldest), moment(each.newest)) for each in kept]
    return f"no {wanted} match; the outbox has\n{table(('destination', 'status', 'oldest', 'newest'), rows)}"
