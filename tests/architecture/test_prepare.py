"""`script/prepare`: what a person sees while the packages are installed. The installer is a stand-in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

UV = """#!/bin/sh
if [ "$1" = venv ]; then
    mkdir -p .venv/bin
    # It has no pip, so that nothing is installed by the other way.
    printf '#!/bin/sh\\nexit 1\\n' >.venv/bin/python
    chmod +x .venv/bin/python
    exit
fi
{installs}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "script").mkdir()
    shutil.copy(ROOT / "script" / "prepare", tmp_path / "script")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "requirements.txt").write_text("".join(f"{name}==1 \\\n    --hash=sha256:00\n" for name in "abc"))
    return tmp_path


def prepared(checkout: Path, installs: str) -> subprocess.CompletedProcess[str]:
    """`script/prepare` where the installer does this."""
    tools = checkout / "tools"
    tools.mkdir()
    (tools / "uv").write_text(UV.format(installs=installs))
    (tools / "uv").chmod(0o755)
    environ = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PROGRESS_SECONDS": "0.1",
    }
    return subprocess.run(
        [checkout / "script" / "prepare", "requirements.txt"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_installation_shows_its_progress(checkout: Path) -> None:
    fetching, installing = (
        "echo Collecting a; echo Collecting b; sleep 1",
        "echo Installing collected packages: a; sleep 1",
    )
    done = prepared(checkout, f"{fetching}; {installing}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("preparing .venv from requirements.txt")
    assert any(line.startswith("  2 of 3 packages fetched, ") for line in lines)
    assert any(line.startswith("  installing 3 packages, ") for line in lines)
    assert lines[-1] == "  done"
    assert (checkout / ".venv" / "stamp-requirements.txt").exists()


def test_failed_installation_ends_with_the_reason(checkout: Path) -> None:
    done = prepared(checkout, "echo no such package; exit 1")
    assert done.returncode == 1
    assert "the packages of requirements.txt could not be installed" in done.stderr
    assert "done" not in done.stdout
