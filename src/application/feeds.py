"""Feeds: a person's bookings in any calendar program, by a secret address."""

import hashlib
import secrets
from dataclasses import dataclass

from application.ports.feeds import CalendarWriter, Feeds
from application.ports.system import Clock
from domain.errors import Unauthenticated
from domain.feeds import LOOKS_BACK, FeedNotFound
from domain.users import User


@dataclass(frozen=True, slots=True)
class OpenFeed:
    """Makes the secret address of the calendar of whoever asks.

    - Whoever has the address can read the calendar, without logging in: calendar programs cannot.
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
class ReadFeed:
    """The calendar at a secret address.

    - It has the places and sessions somebody booked, the sessions they coach and the events they facilitate.
    - It reaches back 90 days, and as far ahead as there is anything.
    - What is cancelled is not in it, so it disappears from every program that shows the calendar.
    - An entry is the one that invitations by mail are about: it has their UID and their SEQUENCE.
    """

    feeds: Feeds
    writer: CalendarWriter
    clock: Clock

    async def __call__(self, token: str) -> str:
        """As iCalendar. Raises `FeedNotFound`."""
        user_id = await self.feeds.find(_fingerprint(token))
        if user_id is None:
            raise FeedNotFound
        return self.writer.write(await self.feeds.entries(user_id, self.clock.now() - LOOKS_BACK))


def _fingerprint(token: str) -> bytes:
    """The token is random and long, so a plain hash of it tells nothing."""
    return hashlib.sha256(token.encode()).digest()
