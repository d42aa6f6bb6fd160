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
    """The tokens that a provider issues. Without a new refresh token in a refresh the old one stays valid."""

    access_token: str
    refresh_token: str | None
    token_type: str
    lifetime: timedelta

    def __repr__(self) -> str:
        return "Grant(***)"


@dataclass(frozen=True, slots=True)
class Placed:
    """A stored entry at the provider. `link` is its online meeting, if it has one; the provider may still be creating
    it."""

    entry_id: str
    link: str | None
    status: str
    link_is_coming: bool = False


class CalendarService(Protocol):
    """One calendar provider. Every call is bounded in time and in the size of the response. Raises
    `CalendarUnavailable` for temporary failures, `CalendarNotUnderstood` for invalid responses, `CalendarRefused` for
    permanent failures."""

    @property
    def provider(self) -> Provider: ...

    def consent_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        """Only the S256 challenge of `verifier` is sent (RFC 7636)."""
        ...

    async def exchange(self, code: str, *, redirect_uri: str, verifier: str) -> Grant:
        """Returns tokens that include a refresh token. Raises `ConsentRefused`."""
        ...

    async def refresh(self, refresh_token: str) -> Grant:
        """Raises `CalendarReconnect` if the consent was revoked or has expired."""
        ...

    async def revoke(self, refresh_token: str) -> None:
        """Revokes the consent, if the provider supports it."""
        ...

    async def put(self, access_token: str, entry: Entry, entry_id: str | None) -> Placed:
        """Creates the entry, or updates the existing one. Raises `TokenRejected`, as do the two methods below."""
        ...

    async def remove(self, access_token: str, entry: Entry, entry_id: str | None) -> None:
        """Removes the entry; does nothing if it does not exist. Without `entry_id` it may exist nevertheless: the
        response to its creation was lost."""
        ...

    async def busy(self, access_token: str, window: Interval, own: "OwnEntries") -> Sequence[Interval]:
        """The owner's busy times, without the entries that Convene has created."""
        ...


@dataclass(frozen=True, slots=True)
class OwnEntries:
    """The entries that Convene has created in a calendar: their ids there, and the times that they may have."""

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
    """`refresh_token` is None if it could not be decrypted."""

    refresh_token: str | None

    def __repr__(self) -> str:
        return "Forgotten(***)"


@dataclass(frozen=True, slots=True)
class CalendarJob:
    """The current state of a booking, and its entry in the calendar that one person connected at `connected_at`, if
    any."""

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
        """Adds or replaces a connection. The account must be locked."""
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
        """Marks the connection as revoked: the owner has to connect the calendar again."""
        ...

    async def forget(self, user_id: UserId, provider: Provider) -> Forgotten | None:
        """Deletes the connection with its stored data. Returns None if there is none."""
        ...

    async def find_job(
        self, booking_id: AppointmentId, user_id: UserId, connection_id: ConnectionId | None
    ) -> CalendarJob | None:
        """Returns None if the account is neither the client nor the coach of the booking."""
        ...

    async def keep_entry(self, connection_id: ConnectionId, job: CalendarJob, placed: Placed, now: datetime) -> None:
        """Stores the entry, unless the calendar was connected again meanwhile: the entry may be in another account."""
        ...

    async def find_entries(self, user_id: UserId, provider: Provider, *, limit: int) -> Sequence[AppointmentId]:
        """The appointments that have an entry in this calendar of the account."""
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
    """Stored busy times of the connected calendars of coaches. Every method is one short transaction."""

    async def claim_due(self, *, limit: int, every: timedelta) -> Sequence[CoachCalendar]:
        """Claims the connections that are due; a concurrent caller gets others."""
        ...

    async def list_stale(self, coach: UUID, *, older_than: timedelta) -> Sequence[CoachCalendar]: ...

    async def own_entries(self, calendar: CoachCalendar, window: Interval) -> OwnEntries: ...

    async def keep(
        self, calendar: CoachCalendar, busy: Sequence[Interval], *, began: datetime, next_in: timedelta
    ) -> None:
        """Replaces the stored busy times, unless newer ones are stored."""
        ...

    async def postpone(self, calendar: CoachCalendar, why: str, *, at_most: timedelta) -> None:
        """Delays the next read after a failure; the delay grows with the duration of the failures."""
        ...


class Feeds(Protocol):
    async def open(self, user_id: UserId, token_version: int, fingerprint: bytes, now: datetime) -> bool:
        """Replaces the account's address. Returns False and changes nothing if the account has another token version:
        the access of the request has ended."""
        ...

    async def close(self, user_id: UserId) -> None: ...

    async def find(self, fingerprint: bytes) -> UserId | None:
        """The account of the address; None also for a deactivated account."""
        ...

    async def entries(self, user_id: UserId, wanted: FeedRange) -> Sequence[FeedEntry]:
        """Entries that are not cancelled, by time, in a stable order."""
        ...

    async def digest(self, user_id: UserId, wanted: FeedRange) -> str:
        """A digest of the entries, which changes with them."""
        ...


class CalendarWriter(Protocol):
    format: str
    """The version of the format: it changes if the same entries result in another text."""

    async def write(self, entries: Sequence[FeedEntry]) -> str:
        """Writes the entries as iCalendar; the same entries result in the same text. Does not block the event loop."""
        ...
