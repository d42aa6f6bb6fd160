"""`script/up` and `convene demo` under the other Pythons of this machine: `script/other-pythons` runs it.

Each interpreter gets a copy of the tree in a temporary directory, with its own virtual environment, data and ports.
"""

import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.command import RunningUp, bare_environ, processes_of
from tests.support.servers import temporary_directory

ROOT = Path(__file__).parents[2]
MINORS = range(11, 15)
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".env", "var", "dist", "__pycache__", ".*_cache", ".hypothesis")
LONG_TESTS = ("tests/domain", "tests/contracts")

PREPARED_IN, READY_IN, DEMO_IN, STOPPED_IN, TESTED_IN = 900, 300, 120, 60, 7200
"""Seconds after which a part has failed."""

_NAME = re.compile(r"python3(\.\d+)?")
_PROBE = """
import importlib.util, sys
has_pip = bool(importlib.util.find_spec("ensurepip"))
print(sys.implementation.name, *sys.version_info[:3], "with" if has_pip else "without")
"""


class Failed(Exception):
    """What went wrong, with the last lines of the output."""


@dataclass(frozen=True)
class Interpreter:
    path: Path
    version: tuple[int, int, int]
    has_ensurepip: bool = True
    """Debian and Ubuntu have it in a package of its own; uv makes environments without it."""

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"


def other_pythons(environ: Mapping[str, str]) -> list[Interpreter]:
    """One of each minor version but that of this process: the first that answers, on the PATH, then in PYTHONS.

    One without ensurepip is taken only where no other of its version has it.
    """
    answering = [interpreter for path in _candidates(environ) if (interpreter := _probed(path))]
    found: dict[tuple[int, int], Interpreter] = {}
    for interpreter in sorted(answering, key=lambda interpreter: not interpreter.has_ensurepip):
        found.setdefault(interpreter.version[:2], interpreter)
    wanted = [(3, minor) for minor in MINORS if (3, minor) != sys.version_info[:2]]
    return [found[version] for version in wanted if version in found]


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    for directory in environ.get("PATH", "").split(os.pathsep):
        if directory and os.access(directory, os.R_OK | os.X_OK) and Path(directory).is_dir():
            yield from sorted(path for path in Path(directory).iterdir() if _NAME.fullmatch(path.name))
    for pattern in environ.get("PYTHONS", "").split():
        yield from map(Path, sorted(glob.glob(str(Path(pattern).expanduser()))))  # noqa: PTH207 (absolute patterns)


def _probed(path: Path) -> Interpreter | None:
    """None for what does not run, a shim without an interpreter for instance, and for another implementation."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONPATH"}}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired, ValueError):
        done = subprocess.run(
            [path, "-c", _PROBE],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        match done.stdout.split() if done.returncode == 0 else []:
            case ["cpython", major, minor, patch, ensurepip]:
                return Interpreter(path, (int(major), int(minor), int(patch)), ensurepip == "with")
    return None


def run_under(interpreter: Interpreter, *, long_run: bool, root: Path = ROOT) -> str:
    """Runs `script/up`, the demo and with `long_run` the tests. Returns how long it took; raises Failed."""
    began = time.monotonic()
    with temporary_directory() as directory:
        tree, data = directory / "convene", directory / "var"
        shutil.copytree(root, tree, ignore=NOT_COPIED)
        environ = os.environ | {"PYTHON": str(interpreter.path)}
        _run(["script/prepare", f"requirements-{'dev' if long_run else 'embedded'}.txt"], tree, environ, PREPARED_IN)
        prepared = time.monotonic()
        used = _probed(tree / ".venv" / "bin" / "python")
        if used is None or used.version != interpreter.version:
            raise Failed(f"script/prepare took another interpreter: {used}")
        with _running_up(tree, data, interpreter) as up:
            ready = time.monotonic()
            convene = tree / ".venv" / "bin" / "convene"
            demo = _run([convene, "demo"], tree, bare_environ(CONVENE_DATA=str(data)), DEMO_IN)
            if "Ada has a mail" not in demo:
                raise Failed(f"convene demo ends early:\n{demo}")
            if up.stop() != 0:
                raise Failed(f"script/up ends with {up.process.returncode}:\n{_last(up.lines)}")
        if left := processes_of(data):
            raise Failed(f"script/up leaves processes: {left}")
        ended = time.monotonic()
        tested = ""
        if long_run:
            python = tree / ".venv" / "bin" / "python"
            options = ["-q", "-n", str(os.cpu_count() or 2)]
            # As they run every day: their repetitions for LONG_RUN do not depend on the interpreter.
            everyday = {name: value for name, value in os.environ.items() if name != "LONG_RUN"}
            lines = _run([python, "-m", "pytest", *options, *LONG_TESTS], tree, everyday, TESTED_IN)
            tested = f", {lines.splitlines()[-1]}"
        return (
            f"packages in {prepared - began:.0f} s, ready in {ready - prepared:.0f} s,"
            f" demo and stop in {ended - ready:.0f} s{tested}"
        )


def _run(command: Sequence[str | Path], tree: Path, environ: Mapping[str, str], seconds: float) -> str:
    """The output of a command that has to succeed. What it started is ended with it."""
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{_named(command)} is not done after {seconds} s") from None
    if done.returncode != 0:
        raise Failed(f"{_named(command)} ends with {done.returncode}:\n{_last(done.stdout.splitlines())}")
    return done.stdout


@contextlib.contextmanager
def _running_up(tree: Path, data: Path, interpreter: Interpreter) -> Iterator[RunningUp]:
    process = subprocess.Popen(
        ["script/up", "--api-port", "0", "--crm-port", "0", "--data", data],
        cwd=tree,
        env=bare_environ(PYTHON=str(interpreter.path)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    up = RunningUp(process, data)
    # Reading its lines waits without a limit.
    limit = threading.Timer(READY_IN + DEMO_IN + STOPPED_IN, process.kill)
    limit.start()
    try:
        up.line("ready")
        yield up
    except AssertionError:
        raise Failed(f"script/up ends before it is ready:\n{_last(up.lines)}") from None
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


def _named(command: Sequence[str | Path]) -> str:
    return " ".join([Path(command[0]).name, *map(str, command[1:])])


def _last(lines: Sequence[str]) -> str:
    return "\n".join(lines[-20:])


def main() -> int:
    long_run = bool(os.environ.get("LONG_RUN"))
    found = other_pythons(os.environ)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    names = ", ".join(map(str, found)) or "none; PYTHONS='/opt/python*/bin/python3' names others"
    print(f"Python from 3.11 to 3.14 besides {here}: {names}", flush=True)
    failed = False
    for interpreter in found:
        if not interpreter.has_ensurepip and not shutil.which("uv"):
            print(f"{interpreter}: left out: it cannot make an environment (apt install python3-venv)", flush=True)
            continue
        try:
            print(f"{interpreter}: passed: {run_under(interpreter, long_run=long_run)}", flush=True)
        except Failed as error:
            failed = True
            print(f"{interpreter}: failed: {error}", file=sys.stderr, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
