"""Connecting and disconnecting the calendars of providers."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

from application.accounts.access import require_access
from application.calendars.ports import CalendarServices, Grant
from application.idempotency import recorded_result
from application.oauth import AttemptUnknown, OAuthAttempts
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.calendars import (
    CalendarNotConfigured,
    CalendarNotConnected,
    CalendarNotUnderstood,
    CalendarUnavailable,
    ConsentRefused,
    ConsentUnknown,
    Provider,
    RedirectNotAllowed,
)
from domain.errors import DomainError, Errors

MAX_CODE = 4_096

MAX_TOKEN = 16_384


@use_case
class BeginCalendarConsent:
    """Starts connecting a calendar. Returns the address of the provider's consent screen, and the state that the
    provider returns with its redirect.

    - `redirect_uri` must equal an address of the allow-list.
    - The state is valid once, for 10 minutes, for this account, this provider and this address.
    """

    raises: ClassVar[Errors] = (CalendarNotConfigured, RedirectNotAllowed)

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


@use_case
class ConnectCalendar:
    """Exchanges the authorization code of the provider's redirect for tokens, and connects the calendar.

    - The state can be used once, with or without success.
    - The tokens are stored encrypted. Future bookings of the account are added to the calendar, and bookings that were
      cancelled meanwhile are removed from it.
    """

    raises: ClassVar[Errors] = (
        CalendarNotConfigured,
        ConsentUnknown,
        ConsentRefused,
        CalendarNotConnected,
        CalendarNotUnderstood,
        CalendarUnavailable,
    )

    open_work: OpenUnitOfWork
    services: CalendarServices
    attempts: OAuthAttempts
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, provider: Provider, redirect_uri: str, *, code: str, state: str) -> Grant:
        service = self.services.get(provider)
        if (token_type := recorded_result()) is not None:
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


@use_case
class DisconnectCalendar:
    """Deletes a connected calendar with its stored data, and revokes the consent at the provider. Entries in the
    calendar stay."""

    raises: ClassVar[Errors] = (CalendarNotConnected, CalendarUnavailable)

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
            return  # it is deleted here; the provider ends a consent that is not used


def _bound_to(user: User, provider: Provider, redirect_uri: str) -> str:
    """The value that binds an attempt to its account, provider and address, in place of the browser's secret of a
    sign-in. It contains the token version, so that an attempt cannot be completed after the account's access has
    ended."""
    return f"calendar\n{user.id}\n{user.token_version}\n{provider}\n{redirect_uri}"


def is_possible_token(token: str) -> bool:
    return 0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token
