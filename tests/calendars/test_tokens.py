"""Expiry of calendar access: one refresh serves all callers, and a revoked consent ends the connection."""

import asyncio

from application.calendars.tokens import CalendarAccess
from domain.calendars import CalendarReconnect, ConnectionId
from infrastructure.container import build_deliveries
from tests.calendars.calendar_harness import CalendarHarness, at
from tests.support import calendar_faults as faults


async def ends(calendar_harness: CalendarHarness) -> None:
    """The access token has ended, by our watch and by theirs."""
    calendar_harness.calendar.grants.end_access()
    await calendar_harness.records.execute("UPDATE calendar_connections SET expires_at = now() - interval '1 minute'")


async def test_rejected_access_token_is_refreshed_once_and_the_call_repeated(
    calendar_harness: CalendarHarness,
) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()
    calendar_harness.calendar.grants.end_access()
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]
    assert calendar_harness.calendar.grants.refreshed == 1
    assert {status for status, _ in await calendar_harness.jobs()} == {"delivered"}


async def test_one_refresh_serves_the_concurrent_callers_of_all_processes(calendar_harness: CalendarHarness) -> None:
    """Each process has a container of its own."""
    await calendar_harness.connect(calendar_harness.coach)
    connection_id = ConnectionId(await calendar_harness.records.fetchval("SELECT id FROM calendar_connections"))
    await ends(calendar_harness)

    async def slowly(serve: faults.Serve, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.4)
        return serve()

    calendar_harness.calendar.grants.faults.always = slowly
    others = [build_deliveries(calendar_harness.settings) for _ in range(3)]
    try:
        used = await asyncio.gather(
            *(_token(other.calendars.jobs.access, connection_id) for other in others for _ in range(20))
        )
    finally:
        for other in others:
            await other.close()
    assert calendar_harness.calendar.grants.refreshed == 1
    assert len(set(used)) == 1
    assert used[0] in calendar_harness.calendar.grants.access


async def test_without_lease_concurrent_callers_refresh_many_times(calendar_harness: CalendarHarness) -> None:
    """Negative control of the test above."""
    await calendar_harness.connect(calendar_harness.coach)
    connection_id = ConnectionId(await calendar_harness.records.fetchval("SELECT id FROM calendar_connections"))
    await ends(calendar_harness)

    several = asyncio.Barrier(2)

    async def after_two_calls(serve: faults.Serve, _writer: asyncio.StreamWriter) -> bytes:
        async with asyncio.timeout(30):
            await several.wait()
        return serve()

    calendar_harness.calendar.grants.faults.next.extend([after_two_calls] * 2)
    others = [build_deliveries(calendar_harness.settings) for _ in range(3)]
    try:
        async with calendar_harness.trigger(
            "calendar_connections", "UPDATE", "NEW.refreshing_until = NULL; RETURN NEW;"
        ):
            await asyncio.gather(
                *(_token(other.calendars.jobs.access, connection_id) for other in others), return_exceptions=True
            )
    finally:
        for other in others:
            await other.close()
    assert calendar_harness.calendar.grants.refreshed > 1


async def test_revoked_consent_is_reported_once_and_calls_stop(
    calendar_harness: CalendarHarness,
) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()
    await calendar_harness.book(hour=12)
    await calendar_harness.book(hour=14)
    calendar_harness.calendar.grants.revoke()
    await calendar_harness.run()
    await calendar_harness.later()
    assert calendar_harness.calendar.grants.refreshed == 1
    assert {status for status, _ in await calendar_harness.jobs()} == {"delivered"}
    connections = (await calendar_harness.coach.get("/calendar/connections")).json()
    assert [each["status"] for each in connections] == ["reconnect"]
    mails = await calendar_harness.records.fetch(
        "SELECT destination, snapshot FROM outbox WHERE fact = 'calendar_revoked'"
    )
    assert [mail["destination"] for mail in mails] == ["email"]
    assert f'"email": "{calendar_harness.coach.email}"' in mails[0]["snapshot"]
    assert f'"provider": "{calendar_harness.provider}"' in mails[0]["snapshot"]
    asked = len(calendar_harness.calendar.receiver.requests)
    await calendar_harness.book(hour=16)
    await calendar_harness.run()
    await calendar_harness.forget_freshness()
    await calendar_harness.parts.calendars.read_busy_times()
    synced = await calendar_harness.sync(calendar_harness.coach, await calendar_harness.book(days=5))
    assert (synced.status_code, synced.json()["code"]) == (400, "calendar_reconnect")
    assert len(calendar_harness.calendar.receiver.requests) == asked
    assert await calendar_harness.records.fetchval("SELECT count(*) FROM outbox WHERE fact = 'calendar_revoked'") == 1
    # Connected again, everything that is ahead is put in.
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.run()
    assert len(calendar_harness.entries()) == 5


async def test_concurrent_detection_of_revoked_consent_notifies_the_owner_once(
    calendar_harness: CalendarHarness,
) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    connection_id = ConnectionId(await calendar_harness.records.fetchval("SELECT id FROM calendar_connections"))
    calendar_harness.calendar.grants.revoke()
    await ends(calendar_harness)
    others = [build_deliveries(calendar_harness.settings) for _ in range(3)]
    try:
        results = await asyncio.gather(
            *(_token(other.calendars.jobs.access, connection_id) for other in others for _ in range(5)),
            return_exceptions=True,
        )
    finally:
        for other in others:
            await other.close()
    assert all(isinstance(result, CalendarReconnect) for result in results)
    assert await calendar_harness.records.fetchval("SELECT count(*) FROM outbox WHERE fact = 'calendar_revoked'") == 1


async def _token(access: CalendarAccess, connection_id: ConnectionId) -> str:
    async def used(_service: object, token: str) -> str:
        return token

    return await access(connection_id, used)
