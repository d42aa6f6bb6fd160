"""Feeds: a person's bookings in any calendar program, by a secret address."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from application.calendars.ports import CalendarWriter, Feeds
from application.ports import Clock
from domain.accounts import User
from domain.calendar_feed import FeedNotFound, FeedRange
from domain.errors import Unauthenticated

BUILT_AT_ONCE = 2
"""Calendars in each process. Each may be several megabytes."""


@dataclass(frozen=True, slots=True)
class OpenFeed:
    """Creates the secret address of the caller's calendar feed.

    - The address alone gives access, because calendar programs cannot log in.
    - There is one address for a person; the one before stops working. It ends with all logins of the person.
    - We keep its fingerprint only, so it is shown this once.
    """

    feeds: Feeds
    public_url: str
    clock: Clock

    async def __call__(self, user: User) -> str:
        token = secrets.token_urlsafe(32)
        if not await self.feeds.open(user.id, user.token_version, _fingerprint(token), self.clock.now()):
            raise Unauthenticated
        return f"{self.public_url}/calendar/feed/{token}.ics"


@dataclass(frozen=True, slots=True)
class CloseFeed:
    """Revokes the secret address; without one nothing happens."""

    feeds: Feeds

    async def __call__(self, user: User) -> None:
        await self.feeds.close(user.id)


@dataclass(frozen=True, slots=True)
class Calendar:
    """`version` changes with the content; `text` is iCalendar, None for a version that the reader has."""

    version: str
    text: str | None


@dataclass(frozen=True, slots=True)
class ReadFeed:
    """The calendar at a secret address.

    - It contains the seats and appointments that the account booked, its appointments as coach and its events.
    - It reaches back 90 days and has at most 500 entries: those to come first, the next one before later ones, then
      those that are over, the last one before earlier ones.
    - What it has is known by its version, which takes one query and no text.
    - What is cancelled is not in it, so it disappears from every program that shows the calendar.
    - An entry is the one that invitations by mail are about: it has their UID and their SEQUENCE.
    """

    feeds: Feeds
    writer: CalendarWriter
    clock: Clock

    building: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BUILT_AT_ONCE))

    async def __call__(self, token: str, has: Callable[[str], bool]) -> Calendar:
        """`has` says whether the reader has a version. Raises `FeedNotFound`."""
        user_id = await self.feeds.find(_fingerprint(token))
        if user_id is None:
            raise FeedNotFound
        wanted = FeedRange.at(self.clock.now())
        digest = await self.feeds.digest(user_id, wanted)
        version = hashlib.sha256(f"{self.writer.format} {digest}".encode()).hexdigest()[:32]
        if has(version):
            return Calendar(version, None)
        async with self.building:
            return Calendar(version, await self.writer.write(await self.feeds.entries(user_id, wanted)))


def _fingerprint(token: str) -> bytes:
    """The token is random and long, so a plain hash of it tells nothing."""
    return hashlib.sha256(token.encode()).digest()
