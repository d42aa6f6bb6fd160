"""Connections for live updates of this process: their number per account, their lifetime and their end."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import Context

from application.accounts.sessions import Actor, Authenticate
from application.notifications.live_updates import FollowLiveUpdates, TooManyFollowers
from application.notifications.ports import EntryId, LiveUpdate
from domain.accounts import UserId
from domain.errors import Unavailable
from servicekit.tasks import LongLivedTasks

MOST_OF_ONE = 10
"""Connections of one account, in each process."""
CHECK_SECONDS = 1
"""A connection's token is checked again before entries are sent, and after 3 s without entries, at most this often. A
revoked token ends the connection within 5 s."""
SEND_SECONDS = 10
"""A client that accepts no data for this time is disconnected. It reconnects with the last received id."""
DRAIN_LOOK_SECONDS = 0.2


class Followers:
    def __init__(self, draining: Callable[[], bool], tasks: LongLivedTasks) -> None:
        self._tasks = tasks
        self._draining = draining
        self._counts: Counter[UserId] = Counter()
        self._leaving = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def joined(self, user_id: UserId) -> AsyncIterator[None]:
        """Raises `TooManyFollowers`, and `Unavailable` once the process is about to end."""
        if self._draining():
            raise Unavailable("The server is about to restart. Please connect again")
        if self._counts[user_id] >= MOST_OF_ONE:
            raise TooManyFollowers(retry_after=60)
        if self._watching is None or self._watching.done():
            self._watching = self._tasks.start(
                "end of live connections", self._watch(), may_return=True, context=Context()
            )
        self._counts[user_id] += 1
        try:
            yield
        finally:
            self._counts[user_id] -= 1
            if not self._counts[user_id]:
                del self._counts[user_id]

    async def disconnected(self) -> None:
        """Waits until the process begins to shut down."""
        await self._leaving.wait()

    async def close(self) -> None:
        self._leaving.set()
        if self._watching is not None:
            await self._tasks.stop([self._watching])

    async def _watch(self) -> None:
        while not self._draining():  # noqa: ASYNC110 (a signal handler outside of the loop sets it)
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        self._leaving.set()


async def feed(
    follow_live_updates: FollowLiveUpdates,
    authenticate: Authenticate,
    actor: Actor,
    token: str,
    after: EntryId,
    take: Callable[[Sequence[LiveUpdate]], Awaitable[None]],
) -> None:
    """Passes new entries for `actor` to `take`, and an empty sequence after every few seconds without entries. Raises
    `Unauthenticated` once the token is invalid, and TimeoutError for a client that reads too slowly."""
    checked = time.monotonic()
    async with contextlib.aclosing(follow_live_updates(actor.user.id, after)) as news:
        async for entries in news:
            async with asyncio.timeout(SEND_SECONDS):
                await take(entries)
            if time.monotonic() - checked >= CHECK_SECONDS:
                with contextlib.suppress(Unavailable):  # then there are no entries either
                    await authenticate(token)
                    checked = time.monotonic()


async def first_of(*parts: Awaitable[None]) -> None:
    """Waits for the first to finish and cancels the others. Raises the exception of the first."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
