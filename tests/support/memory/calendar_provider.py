"""Calendar providers in memory, whose behaviour a test sets."""

import hashlib
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

from application.calendars.ports import CalendarService, Grant, OwnEntries, Placed
from domain.calendars import (
    CalendarNotConfigured,
    CalendarReconnect,
    CalendarUnavailable,
    ConsentRefused,
    Entry,
    Provider,
    TokenRejected,
)
from domain.errors import DomainError
from domain.time import Interval

LIFETIME = timedelta(seconds=3599)
Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """An entry in the calendar, by its key."""

    id: str
    entry: Entry
    link: str | None


@dataclass
class MemoryCalendar:
    """One person's calendar, and the authorization server of its provider. `rotates`: each refresh issues a new refresh
    token. `faults` are raised by the next calls, instead of their work; `lost`: after their work. `before` runs before
    the next call."""

    provider: Provider = Provider.GOOGLE
    rotates: bool = False
    meeting_is_slow: bool = False
    entries: dict[UUID, KeptEntry] = field(default_factory=dict)
    foreign: list[Interval] = field(default_factory=list)
    faults: deque[DomainError] = field(default_factory=deque)
    lost: int = 0
    before: deque[Step] = field(default_factory=deque)
    calls: list[str] = field(default_factory=list)
    access: set[str] = field(default_factory=set)
    refreshable: set[str] = field(default_factory=set)
    revoked: list[str] = field(default_factory=list)
    _codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def consent_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        query = {
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        return f"https://{self.provider}.example/consent?{urlencode(query)}"

    def consent(self, url: str) -> tuple[str, str]:
        """The person allows the access: the code and the state of the provider's redirect."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = f"code-{next(self._numbers)}"
        self._codes[code] = (query["redirect_uri"], query["code_challenge"])
        return code, query["state"]

    def end_access(self) -> None:
        """The access tokens are not accepted any more."""
        self.access.clear()

    def end_consent(self) -> None:
        """The person revokes the consent at the provider."""
        self.access.clear()
        self.refreshable.clear()

    async def exchange(self, code: str, *, redirect_uri: str, verifier: str) -> Grant:
        await self._begin("exchange")
        if self._codes.pop(code, None) != (redirect_uri, _challenge(verifier)):
            raise ConsentRefused
        return self._grant(self._new("refresh", self.refreshable))

    async def refresh(self, refresh_token: str) -> Grant:
        await self._begin("refresh")
        if refresh_token not in self.refreshable:
            raise CalendarReconnect
        if not self.rotates:
            return self._grant(None)
        self.refreshable.discard(refresh_token)
        return self._grant(self._new("refresh", self.refreshable))

    async def revoke(self, refresh_token: str) -> None:
        await self._begin("revoke")
        self.revoked.append(refresh_token)
        self.refreshable.discard(refresh_token)

    async def put(self, access_token: str, entry: Entry, entry_id: str | None) -> Placed:
        await self._begin("put", access_token)
        kept = self.entries.get(entry.key)
        link = kept.link if kept else None
        if link is None and entry.wants_meeting and not self.meeting_is_slow:
            link = f"https://{self.provider}.example/meeting-{next(self._numbers)}"
        number = kept.id if kept else f"entry-{self.provider}-{next(self._numbers)}"
        self.entries[entry.key] = KeptEntry(number, entry, link)
        self._end()
        return Placed(number, link, "confirmed", link_is_coming=entry.wants_meeting and link is None)

    async def remove(self, access_token: str, entry: Entry, entry_id: str | None) -> None:
        await self._begin("remove", access_token)
        self.entries.pop(entry.key, None)
        self._end()

    async def busy(self, access_token: str, window: Interval, own: OwnEntries) -> Sequence[Interval]:
        await self._begin("busy", access_token)
        kept = [each for each in self.entries.values() if each.id not in own.entry_ids]
        times = [*self.foreign, *(each.entry.session for each in kept if str(each.entry.key) not in own.keys)]
        return [each for each in times if each.starts_at < window.ends_at and each.ends_at > window.starts_at]

    def shown(self) -> list[Interval]:
        """The times of Convene's entries."""
        return sorted((each.entry.session for each in self.entries.values()), key=lambda each: each.starts_at)

    async def _begin(self, call: str, access_token: str | None = None) -> None:
        self.calls.append(call)
        if self.before:
            await self.before.popleft()()
        if self.faults:
            raise self.faults.popleft()
        if access_token is not None and access_token not in self.access:
            raise TokenRejected

    def _end(self) -> None:
        if self.lost:
            self.lost -= 1
            raise CalendarUnavailable

    def _grant(self, refresh_token: str | None) -> Grant:
        return Grant(self._new("access", self.access), refresh_token, "Bearer", LIFETIME)

    def _new(self, kind: str, kept: set[str]) -> str:
        token = f"{self.provider}-{kind}-{next(self._numbers)}"
        kept.add(token)
        return token


class MemoryCalendars:
    """The configured providers."""

    def __init__(self, *calendars: MemoryCalendar) -> None:
        self._calendars = {calendar.provider: calendar for calendar in calendars}

    def get(self, provider: Provider) -> CalendarService:
        if provider not in self._calendars:
            raise CalendarNotConfigured
        return self._calendars[provider]


def _challenge(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
