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
        timeout=170,
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


def without_uv(checkout: Path, *, fetched: bool) -> subprocess.CompletedProcess[str]:
    """`script/prepare` where no uv is on the PATH. The interpreter's pip fetches one, or fails."""
    tools = checkout / "tools"
    tools.mkdir()
    for name in "awk cat cksum cp date dirname grep head mkdir rm sed sleep tail touch".split():
        (tools / name).symlink_to(shutil.which(name) or name)
    installer = checkout / "uv"
    installer.write_text('#!/bin/sh\necho "uv $*, index $UV_DEFAULT_INDEX" >>called\ntouch .venv/bin/convene\n')
    python = checkout / "python"
    python.write_text(
        f"""#!/bin/sh
case "$*" in
*_base_executable*) echo {python} ;;
*"pip config"*) echo "global.index-url='https://index.invalid/simple'" ;;
*"pip install"*installer*) {"mkdir -p .venv/installer/bin; cp uv .venv/installer/bin/uv" if fetched else "exit 1"} ;;
*"-m venv"*) mkdir -p .venv/bin; echo "python $*" >>called; cp {python} .venv/bin/python ;;
*"pip install"*) echo "python $*" >>called; touch .venv/bin/convene ;;
esac
"""
    )
    for each in (installer, python):
        each.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", checkout / "script" / "prepare", "requirements.txt"],
        env={"PATH": str(tools), "PYTHON": str(python)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_uv_is_fetched_and_uses_the_index_of_pip(checkout: Path) -> None:
    done = without_uv(checkout, fetched=True)
    assert done.returncode == 0, done.stderr
    made, packages, product = (checkout / "called").read_text().splitlines()
    assert made == "python -m venv --without-pip .venv"
    assert "--require-hashes -r requirements.txt, index https://index.invalid/simple" in packages
    assert "-e ., index" in product


def test_pip_installs_where_uv_cannot_be_fetched(checkout: Path) -> None:
    done = without_uv(checkout, fetched=False)
    assert done.returncode == 0, done.stderr
    made, *halves, product = (checkout / "called").read_text().splitlines()
    assert made == "python -m venv .venv"
    assert [each.split()[3] for each in halves] == ["install", "install"]
    assert "--require-hashes" in halves[0]
    assert product.endswith("-e .")
