"""Rules of access to a connected calendar: tokens are refreshed once, and a revoked consent ends it."""

import asyncio
from uuid import UUID

import pytest

from application.calendars import tokens
from application.calendars.ports import CalendarService
from application.calendars.tokens import EARLY, LEASE, CalendarAccess
from domain.accounts import User
from domain.calendars import (
    CalendarNotConnected,
    CalendarReconnect,
    CalendarRefused,
    CalendarUnavailable,
    ConnectionId,
    ConnectionStatus,
    Provider,
    TokenRejected,
)
from domain.outbox import Destination, MessageType
from tests.application.calendar_application import SECOND, CalendarApplication

APPLICATION = CalendarApplication


async def token_of(service: CalendarService, token: str) -> str:
    """Stands for a call of the provider."""
    return f"{service.provider} {token}"


async def used(app: CalendarApplication, coach: User, access: CalendarAccess | None = None) -> str:
    return await (access or app.access)(app.connection(coach).id, token_of)


def held_refresh(app: CalendarApplication, may_answer: asyncio.Event) -> asyncio.Event:
    """The provider answers the next call after `may_answer`. Returns the event that the call has arrived."""
    arrived = asyncio.Event()

    async def wait() -> None:
        arrived.set()
        await may_answer.wait()

    app.google.before.append(wait)
    return arrived


def refreshes(app: CalendarApplication) -> int:
    return app.google.calls.count("refresh")


async def test_call_gets_the_stored_token_of_the_provider(app: CalendarApplication, coach: User) -> None:
    assert await used(app, coach) == f"google {app.connection(coach).access_token}"
    assert refreshes(app) == 0


async def test_token_that_expires_soon_is_refreshed_before_the_call(app: CalendarApplication, coach: User) -> None:
    before = app.connection(coach)
    app.clock.moment = before.expires_at - EARLY - SECOND
    assert await used(app, coach) == f"google {before.access_token}"
    app.clock.moment = before.expires_at - EARLY
    token = await used(app, coach)
    after = app.connection(coach)
    assert token == f"google {after.access_token}" != f"google {before.access_token}"
    assert after.refresh_token == before.refresh_token, "without a new refresh token the old one stays valid"
    assert after.expires_at > app.clock.now()
    assert after.refreshing_until is None


async def test_new_refresh_token_replaces_the_stored_one(app: CalendarApplication) -> None:
    coach = await app.free_coach()
    await app.connected(coach, Provider.OUTLOOK)
    before = app.connection(coach, Provider.OUTLOOK)
    for _ in range(2):
        app.clock.moment = app.connection(coach, Provider.OUTLOOK).expires_at
        await app.access(before.id, token_of)
    after = app.connection(coach, Provider.OUTLOOK)
    assert {after.refresh_token} == app.outlook.refreshable
    assert after.refresh_token != before.refresh_token


async def test_rejected_token_is_refreshed_and_the_call_repeated(app: CalendarApplication, coach: User) -> None:
    app.google.end_access()
    calls = []

    async def call(_: CalendarService, token: str) -> str:
        calls.append(token)
        if token not in app.google.access:
            raise TokenRejected
        return token

    assert await app.access(app.connection(coach).id, call) == app.connection(coach).access_token
    assert (len(calls), refreshes(app)) == (2, 1)


async def test_provider_that_rejects_a_fresh_token_is_unavailable(app: CalendarApplication, coach: User) -> None:
    async def rejected(_: CalendarService, token: str) -> str:
        raise TokenRejected

    with pytest.raises(CalendarUnavailable, match="does not accept a token that it just gave"):
        await app.access(app.connection(coach).id, rejected)
    assert app.connection(coach).status is ConnectionStatus.ACTIVE


async def test_one_refresh_serves_all_waiting_callers(app: CalendarApplication, coach: User) -> None:
    app.clock.moment = app.connection(coach).expires_at
    app.google.before.append(lambda: asyncio.sleep(0))
    assert len(set(await asyncio.gather(*(used(app, coach) for _ in range(5))))) == 1
    assert refreshes(app) == 1


async def test_one_refresh_serves_all_processes(
    app: CalendarApplication, coach: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY_SECONDS", 0.001)
    app.clock.moment = app.connection(coach).expires_at
    app.google.before.append(lambda: asyncio.sleep(0.005))
    processes = [app.access, app.other_process(), app.other_process()]
    found = await asyncio.gather(*(used(app, coach, access) for access in processes))
    assert len(set(found)) == 1
    assert refreshes(app) == 1


async def test_caller_does_not_wait_endlessly_for_another_process(
    app: CalendarApplication, coach: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY_SECONDS", 0.001)
    monkeypatch.setattr(tokens, "WAIT_SECONDS", 0.003)
    app.clock.moment = app.connection(coach).expires_at
    app.replace_connection(coach, refreshing_until=app.clock.now() + LEASE)
    with pytest.raises(CalendarUnavailable):
        await used(app, coach)
    assert refreshes(app) == 0


async def test_refresh_of_a_process_that_died_is_taken_over(app: CalendarApplication, coach: User) -> None:
    app.clock.moment = app.connection(coach).expires_at
    app.replace_connection(coach, refreshing_until=app.clock.now())
    await used(app, coach)
    assert refreshes(app) == 1


async def test_refresh_continues_when_its_callers_are_cancelled(app: CalendarApplication, coach: User) -> None:
    """A token that the provider has replaced must be stored."""
    app.clock.moment = app.connection(coach).expires_at
    before, may_answer = app.connection(coach), asyncio.Event()
    refreshing = held_refresh(app, may_answer)
    caller = asyncio.create_task(used(app, coach))
    await refreshing.wait()
    (refresh,) = app.access._under_way.values()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_answer.set()
    token = await refresh
    assert token == app.connection(coach).access_token != before.access_token


async def test_cancelled_refresh_ends_its_lease(app: CalendarApplication, coach: User) -> None:
    app.clock.moment = app.connection(coach).expires_at
    refreshing = held_refresh(app, asyncio.Event())
    caller = asyncio.create_task(used(app, coach))
    await refreshing.wait()
    (refresh,) = app.access._under_way.values()
    refresh.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert app.connection(coach).refreshing_until is None
    await used(app, coach)


async def test_failed_refresh_ends_its_lease(app: CalendarApplication, coach: User) -> None:
    app.clock.moment = app.connection(coach).expires_at
    app.google.faults.append(CalendarUnavailable())
    with pytest.raises(CalendarUnavailable):
        await used(app, coach)
    assert app.connection(coach).refreshing_until is None
    await used(app, coach)
    assert refreshes(app) == 2


async def test_owner_receives_one_mail_about_a_revoked_consent(app: CalendarApplication, coach: User) -> None:
    app.google.end_consent()
    app.clock.moment = app.connection(coach).expires_at
    calls = app.wake_ups.calls
    for _ in range(2):
        with pytest.raises(CalendarReconnect):
            await used(app, coach)
    assert (refreshes(app), app.wake_ups.calls) == (1, calls + 1)
    row = app.connection(coach)
    assert (row.status, row.refreshing_until) == (ConnectionStatus.RECONNECT, None)
    (mail,) = app.messages(MessageType.CALENDAR_REVOKED)
    assert (mail.destination, mail.payload["provider"]) == (Destination.EMAIL, "google")
    assert mail.payload["person"] == {"name": coach.name, "email": coach.email}


async def test_renewed_consent_makes_the_calendar_usable(app: CalendarApplication, coach: User) -> None:
    app.google.end_consent()
    app.clock.moment = app.connection(coach).expires_at
    with pytest.raises(CalendarReconnect):
        await used(app, coach)
    await app.connected(coach)
    assert await used(app, coach) == f"google {app.connection(coach).access_token}"


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_calendar_connected_again_during_a_refresh_keeps_its_new_tokens(
    app: CalendarApplication, coach: User, is_revoked: bool
) -> None:
    app.clock.moment = app.connection(coach).expires_at
    if is_revoked:
        app.google.end_consent()

    grants = []

    async def connected_again() -> None:
        grants.append(await app.connected(coach))

    app.google.before.append(connected_again)
    token = await used(app, coach)
    row = app.connection(coach)
    assert token == f"google {row.access_token}"
    assert (row.access_token, row.refresh_token) == (grants[0].access_token, grants[0].refresh_token)
    assert app.connection(coach).status is ConnectionStatus.ACTIVE
    assert app.messages(MessageType.CALENDAR_REVOKED) == []


async def test_calendar_disconnected_during_a_refresh_is_not_connected(app: CalendarApplication, coach: User) -> None:
    app.clock.moment = app.connection(coach).expires_at

    async def disconnected() -> None:
        await app.disconnect(coach, Provider.GOOGLE)

    app.google.before.append(disconnected)
    with pytest.raises(CalendarNotConnected):
        await used(app, coach)


async def test_unknown_calendar_is_not_connected(app: CalendarApplication, coach: User) -> None:
    unknown = ConnectionId(UUID(int=999))
    with pytest.raises(CalendarNotConnected):
        await app.access(unknown, token_of)


async def test_errors_of_the_call_are_raised(app: CalendarApplication, coach: User) -> None:
    async def refused(_: CalendarService, token: str) -> str:
        raise CalendarRefused

    with pytest.raises(CalendarRefused):
        await app.access(app.connection(coach).id, refused)
    assert refreshes(app) == 0
