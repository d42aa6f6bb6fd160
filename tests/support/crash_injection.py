"""The API, killed at one point of a change: `python -m tests.support.crash_injection [point] <fd>`. For tests only.

Points: `unanswered`, after the commit for a request with an idempotency key, and `unnamed`, the same without recording
what was made. For seats: `before` the statement or the COMMIT is sent; `amid`, a few milliseconds at random after it
was; `after` it and before the answer, at the wake-up of the worker (the default); and `naive`, which is `after` with
the messages written by a second statement.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import uvicorn
from litestar.types import ASGIApp

from application.idempotency import CLAIM, Made
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from infrastructure import container
from infrastructure.postgres.bookings.seats import PostgresSeatInventory, reserve_statement
from infrastructure.postgres.engine import Database
from infrastructure.settings import load_settings
from interfaces.http.app import assemble

_LONGEST_COMMIT = 0.008
"""Seconds."""
_TAKE_ALONE = reserve_statement(())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_soon() -> None:
    asyncio.get_running_loop().call_later(random.random() * _LONGEST_COMMIT, die)


async def _never() -> None:
    """The request gets no answer, however late the process ends."""
    await asyncio.Event().wait()


class DeadlyWakeUps:
    def notify(self) -> None:
        die()


@dataclass(frozen=True, slots=True)
class CrashingSeatInventory:
    """Ends with the statement that reserves a seat."""

    seats: Any
    end: Callable[[], None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.seats, name)

    async def reserve(self, **booking: Any) -> None:
        self.end()
        await self.seats.reserve(**booking)
        await _never()


@dataclass(frozen=True, slots=True)
class CrashingUnitsOfWork:
    """Units of work that end with their commit."""

    open_work: OpenUnitOfWork
    end: Callable[[], None]

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with self.open_work() as work:
            commit = work.commit

            async def deadly_commit(made: Made | None = None) -> None:
                self.end()
                await commit(made)
                await _never()

            work.commit = deadly_commit  # type: ignore[method-assign]
            yield work


@dataclass(frozen=True, slots=True)
class CrashAfterCommit:
    """Units of work that die after the commit for a request with a key."""

    open_work: OpenUnitOfWork
    named: bool

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with self.open_work() as work:
            commit = work.commit

            async def deadly_commit(made: Made | None = None) -> None:
                await commit(made if self.named else None)
                if CLAIM.get() is not None:
                    die()

            work.commit = deadly_commit  # type: ignore[method-assign]
            yield work


def _unanswered(part: Any, *, named: bool) -> Any:
    """A copy of the use cases whose units of work die after their commit."""
    if not is_dataclass(part) or isinstance(part, type):
        return part
    changes = {
        field.name: CrashAfterCommit(value, named) if field.name == "open_work" else _unanswered(value, named=named)
        for field in fields(part)
        for value in [getattr(part, field.name)]
    }
    return replace(part, **changes)


def _crashing(usual: container.UseCases, point: str, database: Database) -> container.UseCases:
    book, create, cancel = usual.book_seat, usual.create_event, usual.cancel_booking
    if point in ("after", "naive"):
        wake_ups = DeadlyWakeUps()
        seats = (
            book.seats if point == "after" else PostgresSeatInventory(database, gateway="offline", reserve=_TAKE_ALONE)
        )
        return replace(
            usual,
            book_seat=replace(book, seats=seats, wake_ups=wake_ups),
            create_event=replace(create, wake_ups=wake_ups),
            cancel_booking=replace(cancel, wake_ups=wake_ups),
        )
    end = {"before": die, "amid": die_soon}[point]
    return replace(
        usual,
        book_seat=replace(book, seats=CrashingSeatInventory(book.seats, end)),
        cancel_booking=replace(cancel, open_work=CrashingUnitsOfWork(cancel.open_work, end)),
    )


def create_app(point: str) -> ASGIApp:
    parts = container.build(load_settings(os.environ))
    if point in ("unanswered", "unnamed"):
        use_cases, appointment = (
            _unanswered(each, named=point == "unanswered") for each in (parts.use_cases, parts.appointment)
        )
        return assemble(replace(parts, use_cases=use_cases, appointment=appointment))
    return assemble(replace(parts, use_cases=_crashing(parts.use_cases, point, parts.database)))


if __name__ == "__main__":
    *points, fd = sys.argv[1:]
    config = uvicorn.Config(
        lambda: create_app(points[0] if points else "after"),
        factory=True,
        loop="uvloop",
        http="httptools",
        access_log=False,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(fd))])
