"""Calendar feeds: an account's bookings as iCalendar, at a secret address."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from application.calendars.ports import CalendarWriter, Feeds
from application.ports import Clock
from application.use_cases import use_case
from domain.accounts import User
from domain.calendar_feed import FeedNotFound, FeedRange
from domain.errors import Errors, Unauthenticated

BUILT_AT_ONCE = 2
"""Concurrent calendars in each process. Each may have several megabytes."""


@use_case
class OpenFeed:
    """Creates the secret address of the caller's calendar feed.

    - The address alone gives access, because calendar programs cannot log in.
    - An account has one address; a new one replaces the old one. It is revoked together with all logins of the account.
    - Only its hash is stored, so it is shown once.
    """

    raises: ClassVar[Errors] = ()

    feeds: Feeds
    public_url: str
    clock: Clock

    async def __call__(self, user: User) -> str:
        token = secrets.token_urlsafe(32)
        if not await self.feeds.open(user.id, user.token_version, _fingerprint(token), self.clock.now()):
            raise Unauthenticated
        return f"{self.public_url}/calendar/feed/{token}.ics"


@use_case
class CloseFeed:
    """Revokes the secret address of the caller's calendar feed; does nothing without one."""

    raises: ClassVar[Errors] = ()

    feeds: Feeds

    async def __call__(self, user: User) -> None:
        await self.feeds.close(user.id)


@dataclass(frozen=True, slots=True)
class Calendar:
    """`version` changes with the content; `text` is iCalendar, None for a version that the client has."""

    version: str
    text: str | None


@use_case
class ReadFeed:
    """The calendar at a secret address.

    - It contains the seats and appointments that the account booked, its appointments as coach and its events.
    - It has at most 500 entries of the last 90 days and the future. Future entries have priority over past ones, and
      near ones over distant ones.
    - The version is computed by one query, without writing the text.
    - Cancelled bookings are omitted, so calendar programs remove them.
    - Entries have the UID and the SEQUENCE of the invitations sent by mail, so programs show one entry for both.
    """

    raises: ClassVar[Errors] = (FeedNotFound,)

    feeds: Feeds
    writer: CalendarWriter
    clock: Clock

    building: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BUILT_AT_ONCE))

    async def __call__(self, token: str, has: Callable[[str], bool]) -> Calendar:
        """`has`: whether the client has a version. Raises `FeedNotFound`."""
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
    """A hash without a key suffices, because the token is random and long."""
    return hashlib.sha256(token.encode()).digest()
