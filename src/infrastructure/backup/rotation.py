"""Backups of several times in one directory, such as those of a nightly job."""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infrastructure.backup.errors import BackupError
from infrastructure.backup.manifest import MANIFEST

_NAME = "%Y-%m-%dT%H%M%SZ"
_NAMED = re.compile(r"(\d{4}-\d\d-\d\dT\d{6}Z)(\.partial)?")
_RUNS_AT_MOST = timedelta(days=1)
"""An unfinished backup that is older was interrupted."""


def named_by(now: datetime) -> str:
    """The name of a backup, such as `2026-11-28T030000Z`. The order of names is that of times."""
    return now.astimezone(UTC).strftime(_NAME)


def delete_outdated(directory: Path, now: datetime, *, keep: int) -> list[str]:
    """Deletes all but the `keep` newest complete backups, and interrupted ones. Other files and directories stay.

    Returns the names. Raises `BackupError`.
    """
    complete = sorted(path.name for path in directory.iterdir() if _is_complete(path))
    outdated = [*complete[:-keep], *_interrupted(directory, now)]
    for name in outdated:
        try:
            shutil.rmtree(directory / name)
        except OSError as error:
            raise BackupError(f"{directory / name} cannot be deleted ({error.strerror}): delete it") from None
    return outdated


def _is_complete(path: Path) -> bool:
    named = _NAMED.fullmatch(path.name)
    return named is not None and not named[2] and (path / MANIFEST).is_file()


def _interrupted(directory: Path, now: datetime) -> Iterator[str]:
    started_before = named_by(now - _RUNS_AT_MOST)
    for path in sorted(directory.iterdir()):
        named = _NAMED.fullmatch(path.name)
        if named is not None and named[2] and named[1] < started_before:
            yield path.name
