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
    touch .venv/bin/convene; chmod +x .venv/bin/convene
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


def prepared(checkout: Path, installs: str, *, python: str | Path = sys.executable) -> subprocess.CompletedProcess[str]:
    """`script/prepare` where the installer does this."""
    tools = checkout / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "uv").write_text(UV.format(installs=installs))
    (tools / "uv").chmod(0o755)
    environ = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHON": str(python),
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


def test_other_name_of_the_same_interpreter_reinstalls_nothing(checkout: Path) -> None:
    """With `.venv/bin` first on the PATH, `python3` is found as `python3.11` or as `python3`."""
    names = [checkout / name for name in ("python3", "python3.11")]
    for name in names:
        # As a virtual environment's interpreter does, it says which one is beneath.
        name.write_text(f"""#!/bin/sh
case "$2" in
*_base_executable*) echo {name}.beneath ;;
*) exec {sys.executable} "$@" ;;
esac
""")
        name.chmod(0o755)
        (checkout / f"{name.name}.beneath").symlink_to(Path(sys.executable).resolve())
    first, second = [prepared(checkout, "echo installed", python=name) for name in names]
    assert first.stdout.endswith("  done\n"), first.stderr
    assert (second.returncode, second.stdout) == (0, "")
