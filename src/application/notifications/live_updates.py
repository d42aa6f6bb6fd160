"""Following a facilitator's news: what was missed first, then what happens."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from application.notifications.ports import EntryId, FeedEntry, LiveUpdateListeners, LiveUpdateQueries
from domain.accounts import UserId
from domain.errors import TooManyRequests, Unavailable

AT_ONCE = 100


class TooManyFollowers(TooManyRequests):
    code = "too_many_followers"
    message = "You follow the feed too often already. Please close another connection first"


@dataclass(frozen=True, slots=True)
class FollowFeed:
    """News of a facilitator's bookings, in the order in which they were recorded.

    - Whoever says what they saw last gets first what they missed, as far back as entries are kept; else only what
      happens from now on.
    - Nothing is kept for a follower but their place, so a slow one costs nothing: they read from the table.
    """

    reader: LiveUpdateQueries
    bell: LiveUpdateListeners
    look_every: float = 3
    """Seconds: a lost ring costs no more."""

    async def begin(self, facilitator_id: UserId, last_seen: EntryId | None) -> EntryId:
        """Where to follow from. Whoever is told that they are connected sees all that happens after this. An id that
        was never given out (by another database, say) hides nothing. Raises `Unavailable`."""
        newest = await self.reader.newest(facilitator_id)
        return newest if last_seen is None else min(last_seen, newest)

    async def __call__(self, facilitator_id: UserId, after: EntryId) -> AsyncGenerator[Sequence[FeedEntry], None]:
        """For ever; an empty sequence says that nothing happened for `look_every` seconds, or that the database is
        away."""
        seen = after
        async with self.bell.listening(facilitator_id) as listener:
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
                # That was all; a ring since then is heard at once.
                while not await listener.wait(self.look_every) and not await self._has_news(facilitator_id, seen):
                    yield ()

    async def _has_news(self, facilitator_id: UserId, seen: EntryId) -> bool:
        try:
            return await self.reader.has_news(facilitator_id, seen)
        except Unavailable:
            return False
