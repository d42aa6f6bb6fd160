"""Retention: expired rows and mail files are deleted in small steps, and counted."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

STEP = 500
MOST_STEPS = 20

Count = Callable[[str, int], None]
"""Counts what was deleted: its kind, its number."""

_MAIL = re.compile(r"(\d{8}T\d{6}Z)-.+\.eml")
_PARTIAL = re.compile(r"\..{1,40}\.\d+")


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows of one kind that expire. `kind` is their name in the log and in metrics.

    `prune` is a statement that deletes (or reduces) rows whose time ended `$1` ago or earlier, the oldest first, at
    most `$2`, and omits locked rows. `then` runs in the same transaction, on the array of what `prune` returned.
    """

    kind: str
    prune: str
    age: timedelta
    then: str | None = None


class Pool(Protocol):
    def connection(self) -> AbstractAsyncContextManager[Any]: ...


class Pruning:
    """Applies rules to a database. A step is a short transaction with `step` rows at most."""

    def __init__(self, database: Pool, count: Count, *, step: int = STEP, most_steps: int = MOST_STEPS) -> None:
        self._database = database
        self._count = count
        self._step = step
        self._most_steps = most_steps

    async def prune(self, rule: Rule, overdue: timedelta = timedelta(0)) -> int:
        """Prunes rows that expired at least `overdue` ago, up to 10,000 a call; returns their number. The next call
        goes on."""
        pruned = 0
        for _ in range(self._most_steps):
            async with self._database.connection() as connection:
                done = await _pruned(connection, rule, rule.age + overdue, self._step)
            pruned += done
            self._count(rule.kind, done)
            if done < self._step:
                break
        return pruned


async def _pruned(connection: Any, rule: Rule, age: timedelta, step: int) -> int:
    if rule.then is None:
        return int((await connection.execute(rule.prune, age, step)).rpartition(" ")[2])
    async with connection.transaction():
        rows = await connection.fetch(rule.prune, age, step)
        await connection.execute(rule.then, [row[0] for row in rows])
    return len(rows)


class MailFiles:
    """The files that `FileTransport` writes to `directory`; `age` 0: they are kept.

    The time of a mail is in the name of its file. A partial file, which a killed process has left, has the time of its
    last change.
    """

    def __init__(
        self,
        directory: Path,
        age: timedelta,
        now: Callable[[], datetime],
        count: Count,
        *,
        step: int = STEP,
        most_steps: int = MOST_STEPS,
    ) -> None:
        self._directory = directory
        self._age = age
        self._now = now
        self._count = count
        self._step = step
        self._most_steps = most_steps

    async def prune(self) -> int:
        """Deletes expired files, up to 10,000 a call; returns their number. Raises OSError."""
        if not self._age:
            return 0
        expired = await asyncio.to_thread(self._expired, self._now() - self._age)
        pruned = 0
        for first in range(0, len(expired), self._step):
            pruned += await asyncio.to_thread(_delete, expired[first : first + self._step])
        self._count("mail_files", pruned)
        return pruned

    def _expired(self, before: datetime) -> list[Path]:
        if not self._directory.is_dir():
            return []
        found = sorted(_files(self._directory, before))
        return found[: self._step * self._most_steps]


def _files(directory: Path, before: datetime) -> Iterator[Path]:
    stamp = f"{before.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    for path in directory.iterdir():
        if mail := _MAIL.fullmatch(path.name):
            if mail[1] < stamp:
                yield path
        elif _PARTIAL.fullmatch(path.name) and _changed_before(path, before):
            yield path


def _changed_before(path: Path, before: datetime) -> bool:
    try:
        return path.stat().st_mtime < before.timestamp()
    except FileNotFoundError:  # complete meanwhile
        return False


def _delete(paths: list[Path]) -> int:
    """The number of files that were still there: another process may use the same directory."""
    deleted = 0
    for path in paths:
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        deleted += 1
    return deleted
