"""Every line and branch of the domain and of the use cases is run by the tests in memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RULES = ("tests/domain", "tests/application")

LONG = (
    "tests/domain/test_availability_zones.py",
    "tests/application/test_appointment_steps.py",
    "tests/application/test_booking_steps.py",
)
"""Random steps and all time zones: a fifth of the time, and the others take every branch without them."""

NOT_YET: tuple[str, ...] = ()
"""Beginnings of paths that are not complete yet."""

HALF_TESTED = {
    "src/domain/rule.py": """
        from typing import Protocol

        class Port(Protocol):
            def one(self) -> int: ...

            def two(self) -> int:
                ...

        def is_even(number: int) -> str:
            if number % 2:
                return "odd"
            text = ""
            if number >= 0:
                text = "even"
            return text
        """,
    "src/application/unused.py": "ANSWER = 42",
    "tests/domain/test_rule.py": """
        from runpy import run_path

        def test_even() -> None:
            assert run_path("src/domain/rule.py")["is_even"](2) == "even"
        """,
    "tests/application/test_nothing.py": "",
}


def untested(checkout: Path, data: Path, *options: str) -> list[str]:
    """Each line and branch that the tests of rules do not run."""
    run = ["run", "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
    coverage(checkout, data, *run, *options, *RULES)
    coverage(checkout, data, "json", "-q", "-o", f"{data}.json")
    files: dict[str, Any] = json.loads(Path(f"{data}.json").read_text(encoding="utf-8"))["files"]
    assert len(files) == len([*(checkout / "src/domain").rglob("*.py"), *(checkout / "src/application").rglob("*.py")])
    return [
        f"{path}:{place}"
        for path, found in sorted(files.items())
        for place in [*found["missing_lines"], *(f"{at} to {to}" for at, to in found["missing_branches"])]
    ]


def coverage(checkout: Path, data: Path, command: str, *arguments: str) -> None:
    options = (f"--rcfile={ROOT / 'pyproject.toml'}", f"--data-file={data}")
    usual = {name: value for name, value in os.environ.items() if name != "LONG_RUN"}
    done = subprocess.run(
        [sys.executable, "-m", "coverage", command, *options, *arguments],
        cwd=checkout,
        env=usual | {"PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.mark.timeout(1300)
def test_every_branch_of_rules_is_tested_in_memory(tmp_path: Path) -> None:
    missing = untested(
        ROOT, tmp_path / "coverage", "--hypothesis-profile=branches", *(f"--ignore={each}" for each in LONG)
    )
    assert [each for each in missing if not each.startswith(NOT_YET)] == []
    complete = [path for path in NOT_YET if not any(each.startswith(path) for each in missing)]
    assert complete == [], "these are complete"


def test_untested_lines_and_branches_are_found(tmp_path: Path) -> None:
    for name, text in HALF_TESTED.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]")
    assert untested(tmp_path, tmp_path / "coverage") == [
        "src/application/unused.py:1",
        "src/domain/rule.py:12",
        "src/domain/rule.py:11 to 12",
        "src/domain/rule.py:14 to 16",
    ]
