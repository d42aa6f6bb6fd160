"""`script/test` runs every check and every test, and fails when one of them fails. The tools are simulated."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from _pytest.assertion.rewrite import PYC_TAIL

from tests.support.compile import rewrite

ROOT = Path(__file__).parents[2]
TOOLS = ("ruff", "lint-imports", "mypy", "python")


def pyproject() -> dict[str, Any]:
    tools: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    return tools


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real `script/test`. Each tool notes its arguments, and fails if a file has its name."""
    for name in ("script", ".venv/bin", "failing", "path"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "script" / "test", tmp_path / "script")
    for name in ("script/prepare", "script/tools", "script/other-pythons", "path/chromium", "path/pgbouncer"):
        program(tmp_path / name, "")
    for name in TOOLS:
        said = f'echo "{name} $*" >>{tmp_path}/called'
        program(tmp_path / ".venv" / "bin" / name, f"{said}\necho output of {name}\n! [ -e {tmp_path}/failing/{name} ]")
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "script" / "test", *arguments],
        env={"PATH": f"{checkout}/path:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def test_every_check_runs(checkout: Path) -> None:
    done = run(checkout)
    assert done.returncode == 0, done.stderr
    called = (checkout / "called").read_text()
    for command in ("ruff check .", "ruff format --check .", "lint-imports", "mypy", "python -m pytest -n"):
        assert command in called
    assert "output of mypy" in done.stdout


@pytest.mark.parametrize("tool", TOOLS)
def test_a_failing_check_fails_the_script_after_all_others_have_run(checkout: Path, tool: str) -> None:
    (checkout / "failing" / tool).touch()
    done = run(checkout)
    assert done.returncode == 1
    assert {"ruff": "ruff check .", "python": "python -m pytest -n"}.get(tool, tool) in done.stderr
    assert all(f"output of {each}" in done.stdout for each in TOOLS)


def test_arguments_are_those_of_pytest(checkout: Path) -> None:
    assert run(checkout, "tests/domain", "-q").returncode == 0
    assert (checkout / "called").read_text() == "python -m pytest tests/domain -q\n"
    (checkout / "failing" / "python").touch()
    assert run(checkout, "tests/domain").returncode == 1


def test_pytest_reads_what_is_compiled_for_it(tmp_path: Path) -> None:
    module = tmp_path / "test_sums.py"
    module.write_text("def test_sum():\n    assert 1 + 1 == 3\n")
    rewrite(module)
    compiled = tmp_path / "__pycache__" / f"test_sums{PYC_TAIL}"
    written = compiled.stat().st_mtime_ns
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            tmp_path,
            "-c",
            "/dev/null",
            module,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "assert (1 + 1) == 3" in done.stdout
    assert compiled.stat().st_mtime_ns == written


def test_mypy_checks_every_package_strictly() -> None:
    mypy = pyproject()["mypy"]
    packages = [each.parent.name for folder in (ROOT, ROOT / "src") for each in folder.glob("*/__init__.py")]
    assert mypy["strict"] is True
    assert sorted(mypy["packages"]) == sorted(packages)
    assert [set(each) for each in mypy["overrides"]] == [{"module", "ignore_missing_imports"}]


def test_every_directory_with_tests_is_in_the_order() -> None:
    directories = {str(each.parent.relative_to(ROOT)) for each in (ROOT / "tests").glob("*/test_*.py")}
    assert sorted(pyproject()["pytest"]["ini_options"]["testpaths"]) == sorted(directories)
