"""Access that ends: refreshed once for everybody, given up once for good."""

import asyncio
from datetime import timedelta

import pytest

from application.calendars.tokens import CalendarAccess
from domain.calendars import CalendarReconnect, ConnectionId
from infrastructure.clock import SystemClock
from infrastructure.container import build_deliveries
from tests.calendars.calendar_harness import Desk, at
from tests.support import calendar_faults as faults


async def ends(desk: Desk) -> None:
    """The access token has ended, by our watch and by theirs."""
    desk.calendar.grants.end_access()
    await desk.records.execute("UPDATE calendar_connections SET expires_at = now() - interval '1 minute'")


async def test_access_that_has_ended_is_refreshed_before_it_is_used(desk: Desk) -> None:
    await desk.connect(desk.coach)
    await ends(desk)
    await desk.book()
    await desk.run()
    assert desk.entries() == [(at(3, 10), at(3, 11))]
    assert desk.calendar.grants.refreshed == 1


async def test_access_that_is_rejected_in_the_middle_is_refreshed_once_and_the_call_made_again(desk: Desk) -> None:
    await desk.connect(desk.coach)
    await desk.book()
    desk.calendar.grants.end_access()
    await desk.run()
    assert desk.entries() == [(at(3, 10), at(3, 11))]
    assert desk.calendar.grants.refreshed == 1
    assert {status for status, _ in await desk.owed()} == {"delivered"}


async def test_a_provider_that_rejects_even_a_fresh_token_is_asked_again_later(desk: Desk) -> None:
    await desk.connect(desk.coach)
    await desk.book()
    rejected = faults.saying(faults.as_json({"error": {"code": "InvalidAuthenticationToken"}}, 401))
    desk.calendar.faults.next += [rejected, rejected]
    await desk.run()
    [(status, error)] = await desk.owed()
    assert status == "pending"
    assert error is not None
    assert "a token that it just gave" in error
    assert desk.calendar.grants.refreshed == 1


async def test_a_refresh_token_that_is_replaced_is_replaced_here(desk: Desk) -> None:
    await desk.connect(desk.coach)
    for hour in (10, 12, 14):
        await ends(desk)
        await desk.book(hour=hour)
        await desk.run()
    assert len(desk.entries()) == 3
    assert desk.calendar.grants.refreshed == 3
    assert {status for status, _ in await desk.owed()} == {"delivered"}


@pytest.mark.parametrize("processes", [1, 3])
async def test_one_refresh_serves_everybody_who_waits_for_it(desk: Desk, processes: int) -> None:
    """Also in several processes: each has a container of its own."""
    await desk.connect(desk.coach)
    connection_id = ConnectionId(await desk.records.fetchval("SELECT id FROM calendar_connections"))
    await ends(desk)

    async def slowly(serve: faults.Serve, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.4)
        return serve()

    desk.calendar.grants.faults.always = slowly
    others = [build_deliveries(desk.settings) for _ in range(processes)]
    try:
        used = await asyncio.gather(
            *(_token(other.calendars.jobs.access, connection_id) for other in others for _ in range(20))
        )
    finally:
        for other in others:
            await other.close()
    assert desk.calendar.grants.refreshed == 1
    assert len(set(used)) == 1
    assert used[0] in desk.calendar.grants.access


async def test_without_the_lease_many_refreshes_are_asked_for(desk: Desk) -> None:
    """The twin of the test above: its guard is what makes it one."""
    await desk.connect(desk.coach)
    connection_id = ConnectionId(await desk.records.fetchval("SELECT id FROM calendar_connections"))
    await ends(desk)

    several = asyncio.Barrier(2)

    async def once_asked_twice(serve: faults.Serve, _writer: asyncio.StreamWriter) -> bytes:
        async with asyncio.timeout(30):
            await several.wait()
        return serve()

    desk.calendar.grants.faults.next.extend([once_asked_twice] * 2)
    await desk.records.execute(
        """CREATE FUNCTION forget_lease() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN NEW.refreshing_until = NULL; RETURN NEW; END $$;
           CREATE TRIGGER forget BEFORE UPDATE ON calendar_connections
           FOR EACH ROW EXECUTE FUNCTION forget_lease()"""
    )
    others = [build_deliveries(desk.settings) for _ in range(3)]
    try:
        await asyncio.gather(
            *(_token(other.calendars.jobs.access, connection_id) for other in others), return_exceptions=True
        )
    finally:
        for other in others:
            await other.close()
    assert desk.calendar.grants.refreshed > 1


async def test_a_lease_whose_holder_died_ends(desk: Desk) -> None:
    await desk.connect(desk.coach)
    await ends(desk)
    await desk.records.execute("UPDATE calendar_connections SET refreshing_until = now() + interval '1 second'")
    await desk.book()
    await desk.run()
    assert desk.entries() == [(at(3, 10), at(3, 11))]


async def test_consent_that_was_taken_back_is_told_once_and_nothing_is_asked_any_more(desk: Desk) -> None:
    await desk.connect(desk.coach)
    await desk.book()
    await desk.book(hour=12)
    await desk.book(hour=14)
    desk.calendar.grants.revoke()
    await desk.run()
    await desk.later()
    assert desk.calendar.grants.refreshed == 1
    assert {status for status, _ in await desk.owed()} == {"delivered"}
    connections = (await desk.coach.get("/calendar/connections")).json()
    assert [each["status"] for each in connections] == ["reconnect"]
    mails = await desk.records.fetch("SELECT destination, snapshot FROM outbox WHERE fact = 'calendar_revoked'")
    assert [mail["destination"] for mail in mails] == ["email"]
    assert f'"email": "{desk.coach.email}"' in mails[0]["snapshot"]
    assert f'"provider": "{desk.provider}"' in mails[0]["snapshot"]
    asked = len(desk.calendar.receiver.requests)
    await desk.book(hour=16)
    await desk.run()
    await desk.forget_freshness()
    await desk.parts.calendars.read_busy_times()
    synced = await desk.sync(desk.coach, await desk.book(days=5))
    assert (synced.status_code, synced.json()["code"]) == (400, "calendar_reconnect")
    assert len(desk.calendar.receiver.requests) == asked
    assert await desk.records.fetchval("SELECT count(*) FROM outbox WHERE fact = 'calendar_revoked'") == 1
    # Connected again, everything that is ahead is put in.
    await desk.connect(desk.coach)
    await desk.run()
    assert len(desk.entries()) == 5


async def test_many_who_find_the_consent_taken_back_tell_its_owner_once(desk: Desk) -> None:
    await desk.connect(desk.coach)
    connection_id = ConnectionId(await desk.records.fetchval("SELECT id FROM calendar_connections"))
    desk.calendar.grants.revoke()
    await ends(desk)
    others = [build_deliveries(desk.settings) for _ in range(3)]
    try:
        results = await asyncio.gather(
            *(_token(other.calendars.jobs.access, connection_id) for other in others for _ in range(5)),
            return_exceptions=True,
        )
    finally:
        for other in others:
            await other.close()
    assert all(isinstance(result, CalendarReconnect) for result in results)
    assert await desk.records.fetchval("SELECT count(*) FROM outbox WHERE fact = 'calendar_revoked'") == 1


async def test_a_refresh_that_fails_for_now_is_nobodys_fault(desk: Desk) -> None:
    await desk.connect(desk.coach)
    await desk.book()
    await ends(desk)
    desk.calendar.grants.faults.next.append(faults.server_error)
    await desk.run()
    assert [status for status, _ in await desk.owed()] == ["pending"]
    assert await desk.records.fetchval("SELECT status FROM calendar_connections") == "active"
    await desk.later()
    assert desk.entries() == [(at(3, 10), at(3, 11))]


async def test_a_refresh_goes_on_when_whoever_asked_for_it_has_gone(desk: Desk) -> None:
    """A provider that replaces refresh tokens would otherwise have taken the only one we know."""
    await desk.connect(desk.coach)
    connection_id = ConnectionId(await desk.records.fetchval("SELECT id FROM calendar_connections"))
    await ends(desk)

    async def slowly(serve: faults.Serve, _writer: asyncio.StreamWriter) -> bytes:
        reply = serve()
        await asyncio.sleep(0.3)
        return reply

    desk.calendar.grants.faults.next.append(slowly)
    access = desk.parts.calendars.jobs.access
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.15):
            await _token(access, connection_id)
    assert await _token(access, connection_id) in desk.calendar.grants.access
    assert desk.calendar.grants.refreshed == 1
    assert SystemClock().now() + timedelta(minutes=50) < await desk.records.fetchval(
        "SELECT expires_at FROM calendar_connections"
    )


async def _token(access: CalendarAccess, connection_id: ConnectionId) -> str:
    async def used(_service: object, token: str) -> str:
        return token

    return await access(connection_id, used)
