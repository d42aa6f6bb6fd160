"""`mypy` without arguments, as `script/test` runs it, checks every package strictly."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_checked_strictly() -> None:
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    packages = [each.parent.name for folder in (ROOT, ROOT / "src") for each in folder.glob("*/__init__.py")]
    assert mypy["strict"] is True
    assert sorted(mypy["packages"]) == sorted(packages)
    assert [set(each) for each in mypy["overrides"]] == [{"module", "ignore_missing_imports"}]


def test_script_runs_mypy() -> None:
    assert "check mypy\n" in (ROOT / "script" / "test").read_text(encoding="utf-8")
