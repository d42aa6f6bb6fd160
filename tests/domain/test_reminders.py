"""When a reminder is sent and why not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.accounts import UserId
from domain.ids import BookingId, BookingRef
from domain.reminders import Reminded, Reminder, ReminderId, SkipReason, skip_reason

START = datetime(2026, 12, 1, 10, tzinfo=UTC)
DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
REMINDER = Reminder(ReminderId(UUID(int=1)), BookingRef(BookingId(1)), UserId(1), before=DAY, starts_at=START)
OVERTAKEN = replace(REMINDER, latest=False)
ABOUT = Reminded(START, is_cancelled=False, is_confirmed=True)
CANCELLED = replace(ABOUT, is_cancelled=True)
UNCONFIRMED = replace(ABOUT, is_confirmed=False)


@pytest.mark.parametrize("late", [timedelta(0), SECOND, HOUR, DAY - SECOND])
def test_reminder_is_sent_when_due_and_also_later_before_the_start(late: timedelta) -> None:
    assert skip_reason(REMINDER, ABOUT, START - DAY + late) is None


@pytest.mark.parametrize(
    ("reminder", "about", "now", "reason"),
    [
        (REMINDER, ABOUT, START, SkipReason.TOO_LATE),
        (REMINDER, ABOUT, START + DAY, SkipReason.TOO_LATE),
        (REMINDER, CANCELLED, START - DAY, SkipReason.BOOKING_CANCELLED),
        (REMINDER, replace(ABOUT, starts_at=START + SECOND), START - DAY, SkipReason.MOVED),
        (REMINDER, replace(ABOUT, starts_at=START - SECOND), START - DAY, SkipReason.MOVED),
        (REMINDER, UNCONFIRMED, START - DAY, SkipReason.NOT_CONFIRMED),
        (OVERTAKEN, ABOUT, START - HOUR, SkipReason.SUPERSEDED),
        # Of several reasons the one that says most.
        (OVERTAKEN, CANCELLED, START + DAY, SkipReason.BOOKING_CANCELLED),
        (OVERTAKEN, replace(ABOUT, starts_at=START + DAY), START + HOUR, SkipReason.MOVED),
        (OVERTAKEN, UNCONFIRMED, START, SkipReason.TOO_LATE),
        (OVERTAKEN, UNCONFIRMED, START - HOUR, SkipReason.NOT_CONFIRMED),
    ],
)
def test_useless_reminder_is_skipped_with_a_reason(
    reminder: Reminder, about: Reminded, now: datetime, reason: SkipReason
) -> None:
    assert skip_reason(reminder, about, now) is reason
