"""Work of one round is bounded, and the next rounds go on. Mail files are deleted by the time in their names."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from servicekit.mail_message import Mail
from servicekit.mail_transport import FileTransport
from servicekit.retention import MailFiles, Pruning, Rule

DAYS = timedelta(days=30)
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
RULE = Rule("things", "DELETE … LIMIT $2", DAYS)


class Table:
    """A database with one table that has expired rows; it remembers the limits and the ages it was asked for."""

    def __init__(self, expired: int) -> None:
        self.expired = expired
        self.asked: list[tuple[timedelta, int]] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        yield self

    async def execute(self, statement: str, age: timedelta, limit: int) -> str:
        assert statement == RULE.prune
        self.asked.append((age, limit))
        done = min(limit, self.expired)
        self.expired -= done
        return f"DELETE {done}"


@given(expired=st.integers(0, 400), step=st.integers(1, 40), most_steps=st.integers(1, 8))
def test_round_deletes_a_bounded_number_and_the_next_go_on(expired: int, step: int, most_steps: int) -> None:
    table, counted = Table(expired), {"things": 0}

    def count(kind: str, number: int) -> None:
        counted[kind] += number

    pruning = Pruning(table, count, step=step, most_steps=most_steps)
    rounds = expired // (step * most_steps) + 1
    for _ in range(rounds):
        before = table.expired
        table.asked.clear()
        done = asyncio.run(pruning.prune(RULE))
        assert done == min(before, step * most_steps) == before - table.expired
        assert len(table.asked) == min(most_steps, before // step + 1)
        assert set(table.asked) == {(DAYS, step)}
    assert table.expired == 0
    assert counted == {"things": expired}


def test_overdue_rows_are_older() -> None:
    table = Table(1)
    asyncio.run(Pruning(table, lambda *_: None).prune(RULE, timedelta(hours=1)))
    assert table.asked == [(DAYS + timedelta(hours=1), 500)]


def a_mail(sent: datetime, number: int) -> Mail:
    return Mail(
        sender=Address("", "a", "example.com"),
        recipients=[Address("", "b", "example.com")],
        subject=f"Number {number}",
        date=sent,
        message_id=f"<{number:032}@example.com>",
        text="Hello",
    )


def written(directory: Path, *ages: timedelta) -> list[str]:
    transport = FileTransport(directory)
    return [asyncio.run(transport.send(a_mail(NOW - age, number))) for number, age in enumerate(ages)]


def test_mail_files_are_deleted_by_the_time_of_the_mail(tmp_path: Path) -> None:
    second, counted = timedelta(seconds=1), []
    _, newer = written(tmp_path, DAYS + second, DAYS - second)
    (tmp_path / "notes.eml").write_text("of an operator")
    (tmp_path / "20200101T000000Z-ana").mkdir()
    files = MailFiles(tmp_path, DAYS, lambda: NOW, lambda *given: counted.append(given))
    assert asyncio.run(files.prune()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {newer, "notes.eml", "20200101T000000Z-ana"}
    assert counted == [("mail_files", 1)]
    assert asyncio.run(files.prune()) == 0


def test_partial_files_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    old, new = tmp_path / ".hello-0000.eml.4711", tmp_path / ".hello-0001.eml.4712"
    for path, age in ((old, DAYS + timedelta(days=1)), (new, timedelta(0))):
        path.touch()
        os.utime(path, times=((NOW - age).timestamp(),) * 2)
    assert asyncio.run(MailFiles(tmp_path, DAYS, lambda: NOW, lambda *_: None).prune()) == 1
    assert list(tmp_path.iterdir()) == [new]


@given(number=st.integers(0, 25), step=st.integers(1, 6), most_steps=st.integers(1, 3))
def test_round_deletes_a_bounded_number_of_mail_files(
    tmp_path_factory: Any, number: int, step: int, most_steps: int
) -> None:
    directory = tmp_path_factory.mktemp("mail")
    for each in range(number):
        (directory / f"20200101T000000Z-b@example.com-{each}.eml").touch()
    files = MailFiles(directory, DAYS, lambda: NOW, lambda *_: None, step=step, most_steps=most_steps)
    for _ in range(number // (step * most_steps) + 1):
        before = len(list(directory.iterdir()))
        assert asyncio.run(files.prune()) == min(before, step * most_steps)
    assert list(directory.iterdir()) == []


def test_absent_directory_has_no_mail_files(tmp_path: Path) -> None:
    assert asyncio.run(MailFiles(tmp_path / "mail", DAYS, lambda: NOW, lambda *_: None).prune()) == 0


def test_zero_days_keep_mail_files(tmp_path: Path) -> None:
    [name] = written(tmp_path, 1000 * DAYS)
    assert asyncio.run(MailFiles(tmp_path, timedelta(0), lambda: NOW, lambda *_: None).prune()) == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
