"""A coach who has connected both providers' calendars."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.calendars.calendar_harness import Desk, FakeCalendar, at
from tests.support import calendar_faults as faults
from tests.support.google_calendar import fake_google_calendar
from tests.support.outlook import fake_outlook


@pytest.fixture
async def other(provider: str) -> AsyncIterator[FakeCalendar]:
    async with fake_outlook() if provider == "google" else fake_google_calendar() as other:
        yield other


@pytest.fixture
def other_calendar(other: FakeCalendar) -> dict[str, str]:
    return other.settings


def once_both_are_asked() -> faults.Fault:
    both = asyncio.Barrier(2)

    async def wait(serve: faults.Serve, _writer: Any) -> bytes:
        async with asyncio.timeout(30):
            await both.wait()
        return serve()

    return wait


async def test_both_show_the_one_online_meeting_and_the_one_that_ends_hands_it_on(
    desk: Desk, other: FakeCalendar
) -> None:
    beside = replace(desk, provider="outlook" if desk.provider == "google" else "google", calendar=other)
    await desk.connect(desk.coach)
    await beside.connect(desk.coach)
    booking_id = await desk.book()
    # Both are asked before either has answered.
    wait = once_both_are_asked()
    desk.calendar.faults.next.append(wait)
    other.faults.next.append(wait)
    await desk.run()
    await desk.run()
    link = await desk.link(booking_id)
    entries = [*desk.calendar.live.values(), *other.live.values()]
    assert [str(link) in str(entry) for entry in entries] == [True, True]
    meetings = [bool(entry.get("conferenceData") or entry.get("onlineMeeting")) for entry in entries]
    assert meetings == [True, False]
    # The first calendar is taken away: the next booking's meeting is made in the other.
    assert (await desk.coach.delete(f"/calendar/{desk.provider}")).status_code == 204
    later = await desk.book(hour=14)
    await desk.run()
    assert beside.entries() == [(at(3, 10), at(3, 11)), (at(3, 14), at(3, 15))]
    assert await desk.link(later) is not None
