"""`script/tools`: npm packages are fetched once; an unreachable registry is reported in one line. npm is simulated."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose environment has a Node that does what `{checkout}/npm` says."""
    for name in ("script", "tests/tools", ".venv/bin", "wheel/bin"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "script" / "tools", tmp_path / "script")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "tests" / "tools" / name, tmp_path / "tests" / "tools")
    program(tmp_path / ".venv" / "bin" / "python", f"echo {tmp_path}/wheel")
    program(tmp_path / "wheel" / "bin" / "node", f'. {tmp_path}/npm "$@"')
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def fetched(checkout: Path, npm: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`script/tools npm` where npm does this."""
    (checkout / "npm").write_text(npm)
    return subprocess.run(
        [checkout / "script" / "tools", "npm"],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def test_unreachable_registry_is_one_line_and_the_next_run_retries(checkout: Path) -> None:
    """The line has npm's first error. The next run fetches again; the one after that finds everything there."""
    refused = "echo 'npm error code ECONNREFUSED'; echo 'npm error at a line of Node'; exit 1"
    done = fetched(checkout, refused)
    assert done.returncode == 1
    assert done.stderr == (
        "script/tools: the npm packages could not be fetched (npm error code ECONNREFUSED):"
        " the package registry has to be reachable; .venv/tools/npm.log has the whole output\n"
    )
    assert "a line of Node" in (checkout / ".venv" / "tools" / "npm.log").read_text()
    assert fetched(checkout, "exit 0").returncode == 0
    again = fetched(checkout, refused)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_home_that_cannot_be_written_is_not_used(checkout: Path) -> None:
    """npm keeps its cache in HOME; without one the cache is temporary."""
    said = f'echo "$@" >{checkout}/arguments'
    assert fetched(checkout, said, HOME=str(checkout / "none")).returncode == 0
    assert "--cache=" in (checkout / "arguments").read_text()
    (checkout / ".venv" / "tools" / "stamp-npm").unlink()
    assert fetched(checkout, said, HOME=str(checkout)).returncode == 0
    assert "--cache=" not in (checkout / "arguments").read_text()
