"""`script/other-pythons`: which interpreters it finds, and what counts as passed. All programs are simulated."""

import sys
from pathlib import Path

import pytest

from tests.support.other_pythons import Failed, Interpreter, other_pythons, run_under

OTHERS = [minor for minor in (11, 12, 13, 14) if minor != sys.version_info.minor]
FIRST, SECOND, THIRD = OTHERS[:3]


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python(path: Path, minor: int, name: str = "cpython", ensurepip: str = "with") -> Path:
    return program(path, f"echo {name} 3 {minor} 1 {ensurepip}")


def test_finds_one_interpreter_of_each_other_version(tmp_path: Path) -> None:
    """The first on the PATH, then in PYTHONS. A shim that fails does not hide the interpreter in a later directory."""
    shims, installed, versions = tmp_path / "shims", tmp_path / "bin", tmp_path / "versions"
    program(shims / f"python3.{FIRST}", f"echo 'pyenv: python3.{FIRST}: command not found' >&2; exit 127")
    program(shims / f"python3.{SECOND}", "exit 0")
    first = python(installed / f"python3.{FIRST}", FIRST)
    python(installed / "python3", sys.version_info.minor)
    python(installed / "python3.10", 10)
    python(installed / f"python3.{THIRD}", THIRD, "pypy")
    program(installed / f"python3.{FIRST}-config", "exit 1")
    python(versions / f"3.{FIRST}" / "bin" / "python3", FIRST)
    second = python(versions / f"3.{SECOND}" / "bin" / "python3", SECOND)
    (versions / "3.9" / "bin" / "python3").mkdir(parents=True)
    environ = {
        "PATH": f"{shims}:{tmp_path}/none::{installed}",
        "PYTHONS": f"{tmp_path}/none/* {versions}/*/bin/python3",
    }
    assert other_pythons(environ) == [Interpreter(first, (3, FIRST, 1)), Interpreter(second, (3, SECOND, 1))]
    assert other_pythons(environ | {"PYTHONS": ""}) == [Interpreter(first, (3, FIRST, 1))]
    assert other_pythons({}) == []


def test_interpreter_without_ensurepip_is_the_last_choice(tmp_path: Path) -> None:
    """Debian's `python3` cannot make an environment before `python3-venv` is installed; uv can."""
    system = python(tmp_path / "bin" / "python3", FIRST, ensurepip="without")
    found = Interpreter(system, (3, FIRST, 1), has_ensurepip=False)
    assert other_pythons({"PATH": f"{tmp_path}/bin"}) == [found]
    complete = python(tmp_path / "opt" / "python3", FIRST)
    both = {"PATH": f"{tmp_path}/bin", "PYTHONS": f"{tmp_path}/opt/python*"}
    assert other_pythons(both) == [Interpreter(complete, (3, FIRST, 1))]


# In Python, because a shell cannot trap SIGINT where its parent ignores it, as a background job of a shell does.
# SIGINT waits until it is asked for: a handler that prints may interrupt the print of "ready".
UP = f"""exec {sys.executable} -c '
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGINT}})
print("ready after 1 s", flush=True)
signal.sigwait({{signal.SIGINT}})
print("stopped", flush=True)
sys.exit(0)
'"""
DEMO = "echo Ada has a mail"


def tree(directory: Path, interpreter: Path, *, up: str = UP, demo: str = DEMO) -> Path:
    """A checkout whose programs do this."""
    lines = f"mkdir -p .venv/bin; cp {interpreter} .venv/bin/python; cp convene .venv/bin/"
    program(directory / "script" / "prepare", lines)
    program(directory / "script" / "up", up)
    program(directory / "convene", demo)
    return directory


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    return Interpreter(python(tmp_path / "bin" / "python3", FIRST), (3, FIRST, 1))


def test_up_and_demo_pass_in_a_copy_of_the_tree(tmp_path: Path, interpreter: Interpreter) -> None:
    """Nothing is written to the tree itself, and a `.env` of the person is not copied."""
    root = tree(tmp_path / "root", interpreter.path, up=f"[ ! -e .env ] || exit 1; {UP}")
    (root / ".env").touch()
    assert "demo and stop in" in run_under(interpreter, long_run=False, root=root)
    assert not (root / ".venv").exists()


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        ({"up": "echo no redis-server; exit 1"}, "ends before it is ready:\nno redis-server"),
        ({"up": UP.replace("exit(0)", "exit(3)")}, "script/up ends with 3"),
        ({"demo": "echo no answer; exit 1"}, "demo ends with 1:\nno answer"),
        ({"demo": "echo once upon a time"}, "demo ends early"),
    ],
)
def test_failure_is_reported_with_the_last_lines(
    programs: dict[str, str], reason: str, tmp_path: Path, interpreter: Interpreter
) -> None:
    root = tree(tmp_path / "root", interpreter.path, **programs)
    with pytest.raises(Failed, match=reason):
        run_under(interpreter, long_run=False, root=root)


def test_unexpected_interpreter_is_a_failure(tmp_path: Path, interpreter: Interpreter) -> None:
    """`script/prepare` falls back to `python3` where the named one does not work."""
    root = tree(tmp_path / "root", python(tmp_path / "other" / "python3", SECOND))
    with pytest.raises(Failed, match="took another interpreter"):
        run_under(interpreter, long_run=False, root=root)
