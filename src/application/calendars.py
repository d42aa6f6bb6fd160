"""Connecting calendars that people keep elsewhere, and putting bookings into them."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta

from application.access import require_access
from application.calendar_access import CalendarAccess
from application.calendar_errands import RecordEntry
from application.oauth import AttemptUnknown, OAuthAttempts
from application.ports.calendars import CalendarService, CalendarServices, Grant
from application.ports.idempotency import made_before
from application.ports.messaging import WakeUps
from application.ports.persistence import OpenUnitOfWork
from application.ports.system import Clock
from domain.availability import zone_of
from domain.calendars import (
    CalendarNotConnected,
    CancelledNotSynced,
    ConsentRefused,
    ConsentUnknown,
    NoCalendarToSync,
    NotYoursToSync,
    Provider,
    RedirectNotAllowed,
)
from domain.coaching import CoachingId, CoachingNotFound, CoachingStatus
from domain.errors import DomainError, Invalid
from domain.users import User

MAX_CODE = 4_096
MAX_TOKEN = 16_384


@dataclass(frozen=True, slots=True)
class BeginCalendarConsent:
    """Begins connecting a calendar: the address of the provider's consent screen and the state that it hands back.

    - Only an address of the allow-list, letter by letter, is sent back to.
    - The state works once, within 10 minutes, for this person, this provider and this address.
    """

    services: CalendarServices
    attempts: OAuthAttempts
    allowed: Collection[str]

    async def __call__(self, user: User, provider: Provider, redirect_uri: str) -> tuple[str, str]:
        service = self.services.get(provider)
        if redirect_uri not in self.allowed:
            raise RedirectNotAllowed
        started = replace(self.attempts.new(), browser=_bound_to(user, provider, redirect_uri))
        await self.attempts.keep(started)
        url = service.consent_url(redirect_uri=redirect_uri, state=started.state, verifier=started.verifier)
        return url, started.state


@dataclass(frozen=True, slots=True)
class ConnectCalendar:
    """Exchanges what the provider sent the person back with for tokens, and keeps the calendar connected.

    - The state is used up, whatever comes of it.
    - The tokens are stored sealed; the person's bookings that are still ahead are put into the calendar, and those that
      were cancelled meanwhile are taken out of it.
    """

    open_work: OpenUnitOfWork
    services: CalendarServices
    attempts: OAuthAttempts
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, provider: Provider, redirect_uri: str, *, code: str, state: str) -> Grant:
        service = self.services.get(provider)
        if (token_type := made_before()) is not None:
            return await self._kept(user, provider, token_type)
        try:
            attempt = await self.attempts.take(state=state, browser=_bound_to(user, provider, redirect_uri))
        except AttemptUnknown:
            raise ConsentUnknown from None
        if not 0 < len(code) <= MAX_CODE:
            raise ConsentRefused
        grant = await service.exchange(code, redirect_uri=redirect_uri, verifier=attempt.verifier)
        if grant.refresh_token is None:
            raise ConsentRefused(f"{provider.label} gave no lasting access. Please start again and allow it")
        expires_at = self.clock.now() + grant.lifetime
        async with self.open_work() as work:
            await require_access(work, user)
            await work.calendars.keep(user.id, provider, grant.access_token, grant.refresh_token, expires_at)
            await work.messages.owe_calendars_for(user.id)
            await work.commit(made=grant.token_type)
        self.wake_ups.nudge()
        return grant

    async def _kept(self, user: User, provider: Provider, token_type: str) -> Grant:
        async with self.open_work() as work:
            connection = await work.calendars.find(user.id, provider)
        if connection is None:
            raise CalendarNotConnected
        lifetime = max(connection.expires_at - self.clock.now(), timedelta())
        return Grant(connection.access_token, connection.refresh_token, token_type, lifetime)


@dataclass(frozen=True, slots=True)
class DisconnectCalendar:
    """Forgets a connected calendar with all that is known of it, and gives the consent back to the provider. What
    stands in the calendar stays there."""

    open_work: OpenUnitOfWork
    services: CalendarServices

    async def __call__(self, user: User, provider: Provider) -> None:
        async with self.open_work() as work:
            forgotten = await work.calendars.forget(user.id, provider)
            if forgotten is None:
                raise CalendarNotConnected
            await work.commit()
        if forgotten.refresh_token is None:
            return
        try:
            await self.services.get(provider).revoke(forgotten.refresh_token)
        except DomainError:
            return  # it is forgotten here; a consent that is not used ends by itself


@dataclass(frozen=True, slots=True)
class Synced:
    """`link` is where the two meet."""

    entry_id: str
    link: str | None
    status: str


@dataclass(frozen=True, slots=True)
class SyncBooking:
    """Puts a booking into a calendar of whoever asks, or brings its entry up to date.

    - Only its client and its coach do so, each into a calendar of their own.
    - A given access token is used; without one, the calendar that is connected. Another token may open another
      account's calendar: what was put in there does not count for the connected one.
    - A booking without a link to an online meeting gets one.
    """

    open_work: OpenUnitOfWork
    services: CalendarServices
    access: CalendarAccess
    record: RecordEntry

    async def __call__(
        self, user: User, booking_id: CoachingId, provider: Provider, *, access_token: str | None, timezone: str | None
    ) -> Synced:
        if timezone is not None:
            zone_of(timezone)
        if access_token is not None and not _could_be(access_token):
            raise Invalid({"access_token": "Is not an access token"})
        async with self.open_work() as work:
            booking = await work.coachings.get(booking_id)
            if user.id not in {booking.client_id, booking.coach_id}:
                raise NotYoursToSync
            service = self.services.get(provider)
            connection = await work.calendars.find(user.id, provider)
            connection_id = connection.id if connection else None
            is_connected = connection is not None and access_token in {None, connection.access_token}
            errand = await work.calendars.find_errand(booking_id, user.id, connection_id)
        if errand is None:
            raise CoachingNotFound
        if errand.status is CoachingStatus.CANCELLED:
            raise CancelledNotSynced
        entry = replace(errand.entry, timezone=timezone or errand.entry.timezone, hosts=True)
        errand = replace(errand, entry=entry)

        async def put(at: CalendarService, token: str) -> Synced:
            placed = await at.put(token, entry, errand.entry_id)
            link = await self.record(errand, placed, connection_id if is_connected else None)
            return Synced(placed.entry_id, link, placed.status)

        if access_token is not None:
            return await put(service, access_token)
        if connection_id is None:
            raise NoCalendarToSync
        return await self.access(connection_id, put)


def _bound_to(user: User, provider: Provider, redirect_uri: str) -> str:
    """Stands where a sign-in has its browser's secret: what only the very same request can name. A consent that was
    begun before the account's access ended cannot be finished after it."""
    return f"calendar\n{user.id}\n{user.token_version}\n{provider}\n{redirect_uri}"


def _could_be(token: str) -> bool:
    return 0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token
