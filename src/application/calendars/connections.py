"""Connecting and disconnecting the calendars of providers."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta

from application.accounts.access import require_access
from application.calendars.ports import CalendarServices, Grant
from application.idempotency import made_before
from application.oauth import AttemptUnknown, OAuthAttempts
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import User
from domain.calendars import (
    CalendarNotConnected,
    ConsentRefused,
    ConsentUnknown,
    Provider,
    RedirectNotAllowed,
)
from domain.errors import DomainError

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
            await work.messages.enqueue_calendar_syncs_for(user.id)
            await work.commit(made=grant.token_type)
        self.wake_ups.notify()
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


def _bound_to(user: User, provider: Provider, redirect_uri: str) -> str:
    """Stands where a sign-in has its browser's secret: what only the very same request can name. A consent that was
    begun before the account's access ended cannot be finished after it."""
    return f"calendar\n{user.id}\n{user.token_version}\n{provider}\n{redirect_uri}"


def is_possible_token(token: str) -> bool:
    return 0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token
