"""A coach who has connected both providers' calendars."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.calendars.calendar_harness import CalendarHarness, FakeCalendar, at
from tests.support import calendar_faults as faults
from tests.support.google_calendar import fake_google_calendar
from tests.support.outlook import fake_outlook


@pytest.fixture(scope="module")
async def other(provider: str) -> AsyncIterator[FakeCalendar]:
    async with fake_outlook() if provider == "google" else fake_google_calendar() as other:
        yield other


@pytest.fixture(scope="module")
def other_calendar(other: FakeCalendar) -> dict[str, str]:
    return other.settings


def after_both_calls() -> faults.Fault:
    both = asyncio.Barrier(2)

    async def wait(serve: faults.Serve, _writer: Any) -> bytes:
        async with asyncio.timeout(30):
            await both.wait()
        return serve()

    return wait


async def test_both_calendars_share_one_meeting_and_it_survives_disconnecting_one(
    calendar_harness: CalendarHarness, other: FakeCalendar
) -> None:
    beside = replace(
        calendar_harness, provider="outlook" if calendar_harness.provider == "google" else "google", calendar=other
    )
    await calendar_harness.connect(calendar_harness.coach)
    await beside.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    # Both are asked before either has answered.
    wait = after_both_calls()
    calendar_harness.calendar.faults.next.append(wait)
    other.faults.next.append(wait)
    await calendar_harness.run()
    await calendar_harness.run()
    link = await calendar_harness.link(booking_id)
    entries = [*calendar_harness.calendar.live.values(), *other.live.values()]
    assert [str(link) in str(entry) for entry in entries] == [True, True]
    meetings = [bool(entry.get("conferenceData") or entry.get("onlineMeeting")) for entry in entries]
    assert meetings == [True, False]
    # The first calendar is disconnected: the meeting of the next booking is created in the other.
    assert (await calendar_harness.coach.delete(f"/calendar/{calendar_harness.provider}")).status_code == 204
    later = await calendar_harness.book(hour=14)
    await calendar_harness.run()
    assert beside.entries() == [(at(3, 10), at(3, 11)), (at(3, 14), at(3, 15))]
    assert await calendar_harness.link(later) is not None
