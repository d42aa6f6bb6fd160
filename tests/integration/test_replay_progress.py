"""What `convene outbox replay` shows while delivered messages are sent again."""

import io
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from application.outbox.ports import KeptMessages, Replay
from domain.outbox import Destination, MessageStatus
from interfaces.cli import replay_progress
from interfaces.cli.problems import Problem
from interfaces.cli.replay_progress import follow, no_match

CRM = Destination.CRM
REPLAY = Replay(messages=4, last=40)


class Waiting:
    """Counts of pending messages, one for each look; the last one stays."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = list(counts)

    async def waiting(self, destination: Destination, last: int) -> int:
        assert (destination, last) == (CRM, REPLAY.last)
        return self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_progress, "_LOOK_EVERY", 0)
    monkeypatch.setattr(replay_progress, "_LINE_EVERY", 0)


async def test_lines_are_printed_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    await follow(Waiting([4, 4, 2, 5, 0]), CRM, REPLAY)
    assert capsys.readouterr().out.splitlines()[:-1] == [f"{done} of 4 sent again" for done in (0, 0, 2, 2)]


async def test_bar_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    await follow(Waiting([2, 0]), CRM, REPLAY)
    assert "50%" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert " of 4 " not in terminal.getvalue()


async def test_replay_that_makes_no_progress_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_progress, "_STALLED_AFTER", 0)
    with pytest.raises(Problem, match="3 of 4 messages wait in the outbox") as stalled:
        await follow(Waiting([3]), CRM, REPLAY)
    assert "\n" not in stalled.value.format_message()


def test_replay_without_a_match_says_what_exists() -> None:
    day = datetime(2026, 3, 5, 12, tzinfo=UTC)
    assert no_match((), "messages") == "no messages match: the outbox is empty"
    kept = [KeptMessages(CRM, MessageStatus.DELIVERED, day, day.replace(day=6))]
    said = no_match(kept, "dead messages").splitlines()
    assert said[0] == "no dead messages match; the outbox has"
    assert said[2].split() == ["crm", "delivered", "2026-03-05", "12:00:00Z", "2026-03-06", "12:00:00Z"]
