"""Backups of a nightly job: the newest are kept, nothing else is touched."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.backup.errors import BackupError
from infrastructure.backup.manifest import MANIFEST
from infrastructure.backup.rotation import delete_outdated, named_by

NOW = datetime(2031, 3, 5, 3, tzinfo=UTC)
DAY = timedelta(days=1)


def a_backup(directory: Path, at: datetime, *, is_complete: bool = True) -> str:
    path = directory / f"{named_by(at)}{'' if is_complete else '.partial'}"
    path.mkdir()
    (path / (MANIFEST if is_complete else "booking-users.copy.gz")).touch()
    return path.name


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_name_of_a_backup_is_its_time_in_utc() -> None:
    assert named_by(datetime.fromisoformat("2031-03-05T04:30:07+01:00")) == "2031-03-05T033007Z"


def test_oldest_backups_are_deleted(tmp_path: Path) -> None:
    made = [a_backup(tmp_path, NOW - days * DAY) for days in range(5)]
    assert delete_outdated(tmp_path, NOW, keep=3) == [made[4], made[3]]
    assert names(tmp_path) == set(made[:3])
    assert delete_outdated(tmp_path, NOW, keep=3) == []


def test_interrupted_backups_are_deleted_after_a_day_and_do_not_count(tmp_path: Path) -> None:
    complete = a_backup(tmp_path, NOW - 9 * DAY)
    running = a_backup(tmp_path, NOW - DAY / 2, is_complete=False)
    interrupted = a_backup(tmp_path, NOW - 2 * DAY, is_complete=False)
    assert delete_outdated(tmp_path, NOW, keep=1) == [interrupted]
    assert names(tmp_path) == {complete, running}


def test_files_of_an_operator_are_kept(tmp_path: Path) -> None:
    a_backup(tmp_path, NOW)
    without_manifest = tmp_path / named_by(NOW - 30 * DAY)
    by_hand = tmp_path / "before-the-upgrade"
    for path in (without_manifest, by_hand):
        path.mkdir()
    (by_hand / MANIFEST).touch()
    (tmp_path / "2020-01-01T000000Z.txt").touch()
    before = names(tmp_path)
    assert delete_outdated(tmp_path, NOW, keep=1) == []
    assert names(tmp_path) == before


@given(ages=st.sets(st.integers(0, 10_000), max_size=12), keep=st.integers(1, 12))
def test_number_that_is_kept(tmp_path_factory: pytest.TempPathFactory, ages: set[int], keep: int) -> None:
    directory = tmp_path_factory.mktemp("backups")
    for hours in ages:
        a_backup(directory, NOW - timedelta(hours=hours))
    delete_outdated(directory, NOW, keep=keep)
    assert names(directory) == {named_by(NOW - timedelta(hours=hours)) for hours in sorted(ages)[:keep]}


def test_backup_that_cannot_be_deleted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for days in range(2):
        a_backup(tmp_path, NOW - days * DAY)
    monkeypatch.setattr("shutil.rmtree", _refused)
    with pytest.raises(BackupError, match=r"2031-03-04T030000Z cannot be deleted \(Permission denied\): delete it"):
        delete_outdated(tmp_path, NOW, keep=1)


def _refused(_path: Path) -> None:
    raise PermissionError(13, "Permission denied")
