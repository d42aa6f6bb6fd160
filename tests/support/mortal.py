"""The API, killed at a point of each change: `python -m tests.support.mortal [point] <fd>`. Only tests can start it.

Points: `before` the statement or the COMMIT is sent; `amid`, a few milliseconds at random after it was; `after` it and
before the answer, when use cases ring for the worker (the usual one: here the bell is SIGKILL); and `naive`, which is
`after` in a house that books first and would write its messages in a second statement.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import uvicorn
from litestar.types import ASGIApp

from application.ports.persistence import OpenUnitOfWork, UnitOfWork
from infrastructure import container
from infrastructure.database.engine import Database
from infrastructure.database.places import PostgresPlaces, take_statement
from infrastructure.settings import load_settings
from interfaces.http.app import assemble

_LONGEST_COMMIT = 0.008
"""Seconds."""
_TAKE_ALONE = take_statement(())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_soon() -> None:
    asyncio.get_running_loop().call_later(random.random() * _LONGEST_COMMIT, die)


async def _never() -> None:
    """Nobody is answered, however late the end comes."""
    await asyncio.Event().wait()


class DeadlyBell:
    def nudge(self) -> None:
        die()


@dataclass(frozen=True, slots=True)
class DeadlyPlaces:
    """Ends with the statement that takes a place."""

    places: Any
    end: Callable[[], None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.places, name)

    async def take(self, **booking: Any) -> None:
        self.end()
        await self.places.take(**booking)
        await _never()


@dataclass(frozen=True, slots=True)
class DeadlyWork:
    """Units of work that end with their commit."""

    open_work: OpenUnitOfWork
    end: Callable[[], None]

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with self.open_work() as work:
            commit = work.commit

            async def deadly_commit(made: int | str | None = None) -> None:
                self.end()
                await commit(made)
                await _never()

            work.commit = deadly_commit  # type: ignore[method-assign]
            yield work


def _deadly(usual: container.UseCases, point: str, database: Database) -> container.UseCases:
    book, create, cancel = usual.book_place, usual.create_event, usual.cancel_booking
    if point in ("after", "naive"):
        bell = DeadlyBell()
        places = book.places if point == "after" else PostgresPlaces(database, gateway="offline", take=_TAKE_ALONE)
        return replace(
            usual,
            book_place=replace(book, places=places, wake_ups=bell),
            create_event=replace(create, wake_ups=bell),
            cancel_booking=replace(cancel, wake_ups=bell),
        )
    end = {"before": die, "amid": die_soon}[point]
    return replace(
        usual,
        book_place=replace(book, places=DeadlyPlaces(book.places, end)),
        cancel_booking=replace(cancel, open_work=DeadlyWork(cancel.open_work, end)),
    )


def create_app(point: str) -> ASGIApp:
    parts = container.build(load_settings(os.environ))
    return assemble(replace(parts, use_cases=_deadly(parts.use_cases, point, parts.database)))


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
