"""Forked processes of the tests: they differ from a new interpreter only in what is imported already."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import bare_environ
from tests.support.processes import API, server_environ

IS_FORKED = sys.platform == "linux"
FACTS = [sys.executable, "-P", "-m", "tests.support.process_facts"]


def run(*arguments: str, **options: Any) -> tuple[int, dict[str, Any]]:
    given: dict[str, Any] = {"env": bare_environ(GREETING="hello"), "stdin": subprocess.DEVNULL} | options
    done = subprocess.run([*FACTS, *arguments], stdout=subprocess.PIPE, check=False, **given)
    return done.returncode, json.loads(done.stdout)


def test_forked_process_has_its_own_arguments_environment_and_files(tmp_path: Path) -> None:
    read, write = os.pipe()
    status, facts = run("7", str(write), cwd=tmp_path, pass_fds=(write,), start_new_session=True)
    assert facts.pop("pid") not in (os.getpid(), facts["parent"])
    if IS_FORKED:
        assert facts.pop("shown") == [[*FACTS, "7", str(write)], [f"{k}={v}" for k, v in facts["environ"].items()]]
    assert facts == {
        "parent": os.getpid(),
        "leads_session": True,
        "cwd": str(tmp_path),
        "environ": bare_environ(GREETING="hello"),
        "arguments": ["7", str(write)],
        "open": [0, 1, 2, write],
        "imported": IS_FORKED,
    }
    assert status == 7
    os.close(write)
    assert os.read(read, 10) == b"here"
    os.close(read)


@pytest.mark.usefixtures("new_interpreters")
def test_new_interpreter_has_imported_nothing() -> None:
    status, facts = run("0")
    assert (status, facts["imported"]) == (0, False)


def test_startup_options_of_python_need_a_new_interpreter() -> None:
    assert not run("0", env=bare_environ(PYTHONWARNINGS="error"))[1]["imported"]
    assert run("0", env=bare_environ(PYTHONUNBUFFERED="1"))[1]["imported"] is IS_FORKED


def test_signal_ends_a_forked_process(tmp_path: Path) -> None:
    environ = server_environ("postgresql://convene@127.0.0.1:1/convene", "redis://127.0.0.1:1", tmp_path)
    with subprocess.Popen([sys.executable, "-m", *API[:2], "--port", "0"], env=environ, stderr=subprocess.PIPE) as api:
        api.kill()
        assert api.wait(30) == -signal.SIGKILL
