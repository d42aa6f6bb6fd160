"""Ports of calendars: connections, providers, busy times, calendar feeds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from domain.accounts import UserId
from domain.appointments import AppointmentStatus
from domain.calendar_feed import FeedEntry, FeedRange
from domain.calendars import ConnectionId, ConnectionStatus, Entry, Provider
from domain.ids import AppointmentId
from domain.time import Interval


@dataclass(frozen=True, slots=True)
class Grant:
    """What a provider hands out. A refresh that brings no new refresh token leaves the old one standing."""

    access_token: str
    refresh_token: str | None
    token_type: str
    lifetime: timedelta

    def __repr__(self) -> str:
        return "Grant(***)"


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry as the provider keeps it. `link` is the online meeting of the entry, if it has one; it may still be
    coming."""

    entry_id: str
    link: str | None
    status: str
    link_is_coming: bool = False


class CalendarService(Protocol):
    """One provider. Every call is bounded in time and in what it reads. Raises `CalendarUnavailable` for what may pass,
    `CalendarNotUnderstood` for an answer that makes no sense, `CalendarRefused` for what trying again cannot help."""

    @property
    def provider(self) -> Provider: ...

    def consent_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        """`verifier` goes out as its S256 challenge only (RFC 7636)."""
        ...

    async def exchange(self, code: str, *, redirect_uri: str, verifier: str) -> Grant:
        """With a refresh token. Raises `ConsentRefused`."""
        ...

    async def refresh(self, refresh_token: str) -> Grant:
        """Raises `CalendarReconnect` when the consent was taken back or has ended."""
        ...

    async def revoke(self, refresh_token: str) -> None:
        """Gives the consent back, where the provider has a way to."""
        ...

    async def put(self, access_token: str, entry: Entry, entry_id: str | None) -> Placed:
        """Makes the entry, or changes the one that was made. Raises `TokenRejected`, as do the two below."""
        ...

    async def remove(self, access_token: str, entry: Entry, entry_id: str | None) -> None:
        """Does nothing where it is gone. Without `entry_id` it may be there all the same: the answer was lost."""
        ...

    async def busy(self, access_token: str, window: Interval, own: "OwnEntries") -> Sequence[Interval]:
        """When its owner is busy, our own entries apart."""
        ...


@dataclass(frozen=True, slots=True)
class OwnEntries:
    """What we have put into a calendar: the names it has there, and the times it may stand at."""

    entry_ids: Collection[str]
    keys: Collection[str]
    times: Collection[Interval]


class CalendarServices(Protocol):
    def get(self, provider: Provider) -> CalendarService:
        """Raises `CalendarNotConfigured`."""
        ...


@dataclass(frozen=True, slots=True)
class Connection:
    """A connected calendar with its tokens. `refreshing_until`: until then one caller refreshes the tokens."""

    id: ConnectionId
    user_id: UserId
    provider: Provider
    status: ConnectionStatus
    access_token: str
    refresh_token: str
    expires_at: datetime
    refreshing_until: datetime | None

    def __repr__(self) -> str:
        return f"Connection({self.id})"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """`refresh_token` None: it could not be opened."""

    refresh_token: str | None

    def __repr__(self) -> str:
        return "Forgotten(***)"


@dataclass(frozen=True, slots=True)
class CalendarJob:
    """A booking as it is now, and how one person's calendar stands to it, if it is one that was `connected_at`."""

    booking_id: AppointmentId
    status: AppointmentStatus
    sequence: int
    entry: Entry
    entry_id: str | None
    put_sequence: int | None
    put_link: str | None
    connected_at: datetime | None

    @property
    def is_done(self) -> bool:
        if self.entry_id is None or self.entry.wants_meeting:
            return False
        return (self.put_sequence, self.put_link) == (self.sequence, self.entry.link)


class Connections(Protocol):
    """Within a unit of work."""

    async def keep(
        self, user_id: UserId, provider: Provider, access_token: str, refresh_token: str, expires_at: datetime
    ) -> ConnectionId:
        """Connects, or connects again. The person's account is locked."""
        ...

    async def find(self, user_id: UserId, provider: Provider) -> Connection | None: ...

    async def find_locked(self, connection_id: ConnectionId) -> Connection | None:
        """Locked until the unit of work ends."""
        ...

    async def lease_refresh(self, connection_id: ConnectionId, until: datetime | None) -> None: ...

    async def keep_tokens(
        self, connection_id: ConnectionId, access_token: str, refresh_token: str, expires_at: datetime
    ) -> None: ...

    async def give_up(self, connection_id: ConnectionId, why: str) -> None:
        """It has to be connected again."""
        ...

    async def forget(self, user_id: UserId, provider: Provider) -> Forgotten | None:
        """With all that is known of it. None where there is none."""
        ...

    async def find_job(
        self, booking_id: AppointmentId, user_id: UserId, connection_id: ConnectionId | None
    ) -> CalendarJob | None: ...

    async def keep_entry(self, connection_id: ConnectionId, job: CalendarJob, placed: Placed, now: datetime) -> None:
        """Unless it was connected again meanwhile: the entry may be in another account."""
        ...

    async def forget_entry(self, connection_id: ConnectionId, booking_id: AppointmentId) -> None: ...


@dataclass(frozen=True, slots=True)
class ConnectionView:
    provider: Provider
    status: ConnectionStatus
    connected_at: datetime
    busy_read_at: datetime | None


class ConnectionQueries(Protocol):
    async def list_of(self, user_id: UserId) -> Sequence[ConnectionView]: ...


@dataclass(frozen=True, slots=True)
class CoachCalendar:
    id: ConnectionId
    coach_id: UserId
    provider: Provider


class BusyTimeStore(Protocol):
    """What coaches' connected calendars said of their time. Every step is one short transaction."""

    async def claim_due(self, *, limit: int, every: timedelta) -> Sequence[CoachCalendar]:
        """The connections that are due; a concurrent caller gets others."""
        ...

    async def stale_of(self, coach: UUID, *, older_than: timedelta) -> Sequence[CoachCalendar]: ...

    async def own_entries(self, calendar: CoachCalendar, window: Interval) -> OwnEntries: ...

    async def keep(
        self, calendar: CoachCalendar, busy: Sequence[Interval], *, began: datetime, next_in: timedelta
    ) -> None:
        """In place of what was known, unless something younger is."""
        ...

    async def put_off(self, calendar: CoachCalendar, why: str, *, at_most: timedelta) -> None:
        """It could not be read: the next try comes later, the longer this goes on."""
        ...


class Feeds(Protocol):
    async def open(self, user_id: UserId, token_version: int, fingerprint: bytes, now: datetime) -> bool:
        """In place of the one before, if there is one. False, and nothing is done, when the account has another token
        version: the access with which this was asked for has ended."""
        ...

    async def close(self, user_id: UserId) -> None: ...

    async def find(self, fingerprint: bytes) -> UserId | None:
        """Whose it is; None also for those who may not log in any more."""
        ...

    async def entries(self, user_id: UserId, wanted: FeedRange) -> Sequence[FeedEntry]:
        """What is not cancelled, in the order of time; in the same order every time."""
        ...

    async def digest(self, user_id: UserId, wanted: FeedRange) -> str:
        """Another one for other entries."""
        ...


class CalendarWriter(Protocol):
    format: str
    """Another one where the same entries would give another text."""

    async def write(self, entries: Sequence[FeedEntry]) -> str:
        """The same entries give the same text. Does not hold the event loop."""
        ...
