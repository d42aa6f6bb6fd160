"""When the mail about a change is due, and what it compares."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.change_mails import WaitingChange, due_at

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
WINDOW = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("before", "after", "minutes"),
    [
        (600, 600, 5),
        (35, 600, 5),
        (34, 600, 4),
        (600, 34, 4),
        (30, 600, 0),
        (600, 30, 0),
        (10, 600, 0),
        (-10, -10, 0),
    ],
)
def test_mail_waits_but_is_due_30_minutes_before_either_start(before: int, after: int, minutes: int) -> None:
    starts = [NOW + timedelta(minutes=each) for each in (before, after)]
    assert due_at(NOW, WINDOW, *starts) == NOW + timedelta(minutes=minutes)


def test_without_a_window_it_is_due_immediately() -> None:
    assert due_at(NOW, timedelta(0), NOW + timedelta(days=7)) == NOW


@pytest.mark.parametrize(
    ("shown", "reminded", "present", "earlier"),
    [
        (None, False, "new", "old"),
        (None, False, "old", None),
        ("new", False, "newer", "old"),
        ("new", False, "old", "new"),
        ("old", False, "old", None),
        (None, True, "old", "old"),
        (None, True, "new", "old"),
    ],
)
def test_restored_state_is_told_only_to_those_who_saw_another_one(
    shown: str | None, reminded: bool, present: str, earlier: str | None
) -> None:
    assert WaitingChange("old", shown, reminded=reminded).earlier_than(present) == earlier
