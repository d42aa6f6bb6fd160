"""Live updates for facilitators: missed entries first, then new ones."""

from collections.abc import AsyncGenerator, Sequence
from typing import ClassVar

from application.notifications.ports import EntryId, LiveUpdate, LiveUpdateListeners, LiveUpdateQueries
from application.use_cases import use_case
from domain.accounts import UserId
from domain.errors import Errors, TooManyRequests, Unavailable

AT_ONCE = 100


class TooManyFollowers(TooManyRequests):
    code = "too_many_followers"
    message = "You follow the feed too often already. Please close another connection first"


@use_case
class FollowLiveUpdates:
    """Live updates about a facilitator's bookings, in the order in which they were recorded.

    - A follower that names the last entry it has seen first gets the entries it missed, as far back as they are
      stored; otherwise only new entries.
    - Followers read from the table, so a slow follower needs no memory.
    """

    raises: ClassVar[Errors] = (TooManyFollowers,)

    reader: LiveUpdateQueries
    signals: LiveUpdateListeners
    poll_every: float = 3
    """Seconds; a lost signal delays an update by no more."""

    async def begin(self, facilitator_id: UserId, last_seen: EntryId | None) -> EntryId:
        """The entry to start after; a connected follower gets every later entry. An id that was never issued (for
        example of another database) hides no entries. Raises `Unavailable`."""
        newest = await self.reader.newest(facilitator_id)
        return newest if last_seen is None else min(last_seen, newest)

    async def __call__(self, facilitator_id: UserId, after: EntryId) -> AsyncGenerator[Sequence[LiveUpdate], None]:
        """Endless. An empty sequence: no entry for `poll_every` seconds, or the database is unavailable."""
        seen = after
        async with self.signals.listening(facilitator_id) as listener:
            while True:
                try:
                    news = await self.reader.after(facilitator_id, seen, limit=AT_ONCE)
                except Unavailable:
                    news = ()
                if news:
                    seen = news[-1].id
                yield news
                if len(news) == AT_ONCE:
                    continue
                # A signal since the read above ends the wait immediately.
                while not await listener.wait(self.poll_every) and not await self._has_updates(facilitator_id, seen):
                    yield ()

    async def _has_updates(self, facilitator_id: UserId, seen: EntryId) -> bool:
        try:
            return await self.reader.has_updates(facilitator_id, seen)
        except Unavailable:
            return False
