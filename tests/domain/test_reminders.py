"""When a reminder is sent and why not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.accounts import UserId
from domain.bookings import BookingId
from domain.reminders import Reminded, Reminder, ReminderId, WhyNot, why_not

START = datetime(2026, 12, 1, 10, tzinfo=UTC)
DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
REMINDER = Reminder(ReminderId(UUID(int=1)), BookingId(1), UserId(1), before=DAY, starts_at=START)
OVERTAKEN = replace(REMINDER, latest=False)
ABOUT = Reminded(START, is_cancelled=False, is_confirmed=True)
CANCELLED = replace(ABOUT, is_cancelled=True)
UNCONFIRMED = replace(ABOUT, is_confirmed=False)


@pytest.mark.parametrize("late", [timedelta(0), SECOND, HOUR, DAY - SECOND])
def test_it_is_sent_when_it_is_due_and_late_as_long_as_the_start_is_ahead(late: timedelta) -> None:
    assert why_not(REMINDER, ABOUT, START - DAY + late) is None


@pytest.mark.parametrize(
    ("reminder", "about", "now", "reason"),
    [
        (REMINDER, ABOUT, START, WhyNot.TOO_LATE),
        (REMINDER, ABOUT, START + DAY, WhyNot.TOO_LATE),
        (REMINDER, CANCELLED, START - DAY, WhyNot.BOOKING_CANCELLED),
        (REMINDER, replace(ABOUT, starts_at=START + SECOND), START - DAY, WhyNot.MOVED),
        (REMINDER, replace(ABOUT, starts_at=START - SECOND), START - DAY, WhyNot.MOVED),
        (REMINDER, UNCONFIRMED, START - DAY, WhyNot.NOT_CONFIRMED),
        (OVERTAKEN, ABOUT, START - HOUR, WhyNot.SUPERSEDED),
        # Of several reasons the one that says most.
        (OVERTAKEN, CANCELLED, START + DAY, WhyNot.BOOKING_CANCELLED),
        (OVERTAKEN, replace(ABOUT, starts_at=START + DAY), START + HOUR, WhyNot.MOVED),
        (OVERTAKEN, UNCONFIRMED, START, WhyNot.TOO_LATE),
        (OVERTAKEN, UNCONFIRMED, START - HOUR, WhyNot.NOT_CONFIRMED),
    ],
)
def test_what_is_of_no_use_is_not_sent(reminder: Reminder, about: Reminded, now: datetime, reason: WhyNot) -> None:
    assert why_not(reminder, about, now) is reason
