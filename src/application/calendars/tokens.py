"""Access to a connected calendar with its stored tokens, which are refreshed before they expire."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import field
from datetime import timedelta
from typing import TypeVar

from application.calendars.ports import CalendarService, CalendarServices, Connection
from application.idempotency import without_request_key
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.calendars import (
    CalendarNotConnected,
    CalendarReconnect,
    CalendarUnavailable,
    ConnectionId,
    ConnectionStatus,
    TokenRejected,
)

T = TypeVar("T")

EARLY = timedelta(seconds=60)
"""A token that expires within this time is treated as expired, because the call that uses it takes time."""
LEASE = timedelta(seconds=15)
"""Longer than the time limit of a token refresh."""
WAIT_SECONDS = 10
LOOK_EVERY_SECONDS = 0.1


@use_case
class CalendarAccess:
    """Calls a provider with a connection's access token.

    - A token that has expired, or that the provider rejects during a call, is refreshed once for all waiting callers in
      all processes; then the call is repeated.
    - A new refresh token of the provider replaces the stored one.
    - If the consent was revoked, the owner receives one e-mail, and the connection is not used until it is renewed.
    """

    open_work: OpenUnitOfWork
    services: CalendarServices
    wake_ups: WakeUps
    clock: Clock
    _under_way: dict[ConnectionId, asyncio.Task[str]] = field(default_factory=dict)

    async def __call__(self, connection_id: ConnectionId, call: Callable[[CalendarService, str], Awaitable[T]]) -> T:
        """Raises `CalendarNotConnected`, `CalendarReconnect`, and the exceptions of the call."""
        async with self.open_work() as work:
            connection = self._usable(await work.calendars.find_locked(connection_id))
        service = self.services.get(connection.provider)
        token = connection.access_token
        if not self._lasts(connection):
            token = await self._renewed(connection_id, rejected=None)
        try:
            return await call(service, token)
        except TokenRejected:
            token = await self._renewed(connection_id, rejected=token)
        try:
            return await call(service, token)
        except TokenRejected:
            raise CalendarUnavailable(
                f"{connection.provider.label} does not accept a token that it just gave"
            ) from None

    async def _renewed(self, connection_id: ConnectionId, *, rejected: str | None) -> str:
        under_way = self._under_way.get(connection_id)
        if under_way is None:
            under_way = asyncio.create_task(self._renew(connection_id, rejected), context=without_request_key())
            self._under_way[connection_id] = under_way
            under_way.add_done_callback(lambda task: self._finished(connection_id, task))
        # A waiting caller may be cancelled; a token that the provider has replaced must be stored all the same.
        return await asyncio.shield(under_way)

    def _finished(self, connection_id: ConnectionId, task: asyncio.Task[str]) -> None:
        del self._under_way[connection_id]
        if not task.cancelled():
            task.exception()  # retrieved, also when no caller waits any more

    async def _renew(self, connection_id: ConnectionId, rejected: str | None) -> str:
        for _ in range(round(WAIT_SECONDS / LOOK_EVERY_SECONDS)):
            async with self.open_work() as work:
                connection = self._usable(await work.calendars.find_locked(connection_id))
                if self._lasts(connection) and connection.access_token != rejected:
                    return connection.access_token
                now = self.clock.now()
                is_free = connection.refreshing_until is None or connection.refreshing_until <= now
                if is_free:
                    await work.calendars.lease_refresh(connection_id, now + LEASE)
                    await work.commit()
            if is_free:
                return await self._refresh(connection)
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        raise CalendarUnavailable

    async def _refresh(self, connection: Connection) -> str:
        """The caller must hold the lease."""
        try:
            grant = await self.services.get(connection.provider).refresh(connection.refresh_token)
        except CalendarReconnect as error:
            return await self._give_up(connection, error)
        except BaseException:
            async with self.open_work() as work:
                await work.calendars.lease_refresh(connection.id, None)
                await work.commit()
            raise
        async with self.open_work() as work:
            current = self._usable(await work.calendars.find_locked(connection.id))
            if current.refresh_token != connection.refresh_token:  # the calendar was connected again meanwhile
                return current.access_token
            await work.calendars.keep_tokens(
                connection.id,
                grant.access_token,
                grant.refresh_token or connection.refresh_token,
                self.clock.now() + grant.lifetime,
            )
            await work.commit()
        return grant.access_token

    async def _give_up(self, connection: Connection, error: CalendarReconnect) -> str:
        async with self.open_work() as work:
            current = self._usable(await work.calendars.find_locked(connection.id))
            if current.refresh_token != connection.refresh_token:
                return current.access_token
            await work.calendars.give_up(connection.id, error.message)
            await work.messages.enqueue_calendar_revoked(connection.id)
            await work.commit()
        self.wake_ups.notify()
        raise error

    def _lasts(self, connection: Connection) -> bool:
        return connection.expires_at > self.clock.now() + EARLY

    @staticmethod
    def _usable(connection: Connection | None) -> Connection:
        if connection is None:
            raise CalendarNotConnected
        if connection.status is not ConnectionStatus.ACTIVE:
            raise CalendarReconnect
        return connection
