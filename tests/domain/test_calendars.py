"""Entries in connected calendars, and what of a busy time is not our own."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.accounts import UserId
from domain.calendar_feed import FeedRange
from domain.calendars import (
    CalendarNotConfigured,
    CalendarUnavailable,
    Entry,
    Provider,
    entry_key,
    without,
)
from domain.ids import AppointmentId
from domain.time import Interval

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
BOOKING = AppointmentId(UUID(int=1))


def between(starts: float, ends: float) -> Interval:
    return Interval(MIDNIGHT + timedelta(hours=starts), MIDNIGHT + timedelta(hours=ends))


@pytest.mark.parametrize(
    ("ours", "left"),
    [
        ([], [(9, 12)]),
        ([(12, 13)], [(9, 12)]),
        ([(8, 9)], [(9, 12)]),
        ([(9, 12)], []),
        ([(8, 13)], []),
        ([(9, 10)], [(10, 12)]),
        ([(11, 12)], [(9, 11)]),
        ([(10, 11)], [(9, 10), (11, 12)]),
        ([(8, 10), (11, 13)], [(10, 11)]),
        ([(9.5, 10), (11, 11.5)], [(9, 9.5), (10, 11), (11.5, 12)]),
        ([(10, 11), (10.5, 11.5)], [(9, 10), (11.5, 12)]),
    ],
)
def test_entries_of_convene_are_cut_out_of_a_busy_time(
    ours: list[tuple[float, float]], left: list[tuple[float, float]]
) -> None:
    assert without(between(9, 12), [between(*own) for own in ours]) == [between(*rest) for rest in left]


def test_key_of_an_entry_is_the_same_for_a_booking_and_a_person() -> None:
    key = entry_key(BOOKING, UserId(1))
    assert key == entry_key(BOOKING, UserId(1)) == UUID("c6ae59cd-4100-5d14-850d-f8202b722a98")
    assert len({key, entry_key(BOOKING, UserId(2)), entry_key(AppointmentId(UUID(int=2)), UserId(1))}) == 3


def test_meeting_is_created_only_by_the_host_and_only_without_a_link() -> None:
    entry = Entry(UUID(int=1), "Yoga", "", between(9, 10), "UTC", link=None, hosts=True)
    assert entry.wants_meeting
    assert not replace(entry, link="https://meet.example/1").wants_meeting
    assert not replace(entry, hosts=False).wants_meeting


def test_providers_have_the_names_that_people_know() -> None:
    assert [each.label for each in Provider] == ["Google Calendar", "Outlook"]


def test_unreachable_provider_is_tried_again_and_one_that_is_not_set_up_is_not() -> None:
    assert (CalendarUnavailable().retry_after, CalendarUnavailable("later", 60).retry_after) == (5, 60)
    assert CalendarUnavailable("later").message == "later"
    assert CalendarNotConfigured().retry_after is None
    assert CalendarNotConfigured("not here").message == "not here"


def test_feed_goes_back_ninety_days_with_at_most_500_entries() -> None:
    assert FeedRange.at(MIDNIGHT) == FeedRange(MIDNIGHT - timedelta(days=90), MIDNIGHT, limit=500)
