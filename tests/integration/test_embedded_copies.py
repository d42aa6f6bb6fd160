"""Programs that are copied to where all users can enter: once, however many processes want them at once."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infrastructure.embedded import placement


def copies_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Path]:
    """Eight callers want the same package: the number of copies made, and the directory that all of them got."""
    package = tmp_path / "site" / "package" / "tree" / "bin"
    package.mkdir(parents=True)
    for number in range(200):
        (package / f"program{number}").write_text("x")
    made: list[Path] = []
    copy = placement._copy

    def counted(origin: Path, parts: list[Path], to: Path) -> None:
        made.append(to)
        with contextlib.suppress(OSError):
            copy(origin, parts, to)

    monkeypatch.setattr(placement, "_FAR_PLACE", tmp_path)
    monkeypatch.setattr(placement, "_copy", counted)
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(placement._copied, tmp_path / "site", [package.parent], "package", "tree") for _ in range(8)
        ]
        [place] = {call.result() for call in calls}
    return len(made), place


@pytest.mark.parametrize("locked", [True, False])
def test_several_processes_share_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool) -> None:
    if not locked:
        monkeypatch.setattr(placement, "_lock", lambda _path: contextlib.nullcontext())
    made, place = copies_made_at_once(tmp_path, monkeypatch)
    assert (made == 1) is locked
    if locked:
        assert len(list((place / "package" / "tree" / "bin").iterdir())) == 200
