"""The garbage collector while a process starts: off before the imports, on again once the parts are made."""

import platform
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from crm import __main__ as crm_command
from crm import serving
from interfaces.cli import serve
from tests.support.settings import settings_for

SCRIPT = """
import gc
from servicekit.process import begin_start, complete_start
begin_start("decimal")
print(gc.isenabled())
for name in "rich", "decimal":
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error.name)
import structlog
complete_start()
print(gc.isenabled(), gc.get_freeze_count() > 1000)
"""


def test_nothing_is_collected_while_a_process_starts() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "rich", "decimal", "True", "True"]


# The second block of a size is the one that glibc keeps.
FREED = """
import ctypes, sys
from pathlib import Path
from servicekit.process import begin_start
if sys.argv[1:]:
    begin_start()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
for _ in range(2):
    block = libc.malloc(20 << 20)
    ctypes.memset(block, 1, 20 << 20)
    libc.free(block)
print(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_memory_of_a_password_hash_is_given_back() -> None:
    def resident(*arguments: str) -> int:
        argv = [sys.executable, "-P", "-c", FREED, *arguments]
        return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)

    assert resident("begin") < resident() - 15_000


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> list[str]:
    """What is done, with the real steps replaced: these would last in the process of the tests."""
    said: list[str] = []

    def step(name: str) -> Callable[..., Any]:
        return lambda *_arguments, **_named: said.append(name)

    for module in (serve, crm_command, serving):
        monkeypatch.setattr(module, "begin_start", step("begin"))
    for module in (serve, serving):
        monkeypatch.setattr(module, "complete_start", step("complete"))
    settings = settings_for("postgresql://convene@127.0.0.1:1/convene", "redis://127.0.0.1:1", tmp_path)
    monkeypatch.setattr(serve, "command_environ", dict)
    monkeypatch.setattr(serve, "load_settings", lambda _environ: settings)
    monkeypatch.setattr(serve, "_exit_cleanly_on_sigterm", step("signals"))
    monkeypatch.setattr("interfaces.http.app.create_app", step("parts"))
    monkeypatch.setattr("infrastructure.container.delivery.build_deliveries", step("parts"))
    monkeypatch.setattr("crm.app.create_app", step("parts"))
    return said


def test_api_process_collects_again_when_its_parts_are_made(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def served(make_app: Callable[[Callable[[], bool]], object], *_arguments: Any, **_named: Any) -> bool:
        make_app(lambda: False)
        return True

    monkeypatch.setattr("interfaces.cli.server.serve", served)
    monkeypatch.setattr(serve, "adopt", lambda _fd: None)
    assert serve.api.callback
    serve.api.callback(host="127.0.0.1", port=0, workers=1, fd=3)
    assert steps == ["signals", "begin", "parts", "complete"]


def test_worker_collects_again_when_its_parts_are_made(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interfaces.workers.main.run", lambda settings, build: build(settings))
    assert serve.worker.callback
    serve.worker.callback()
    assert steps == ["signals", "begin", "parts", "complete"]


def test_crm_collects_again_when_its_parts_are_made(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def reachable(*_arguments: Any, **_named: Any) -> None:
        pass

    settings = SimpleNamespace(database_url="", pooler=None, log_level="info")
    monkeypatch.setattr(crm_command, "check_server", reachable)
    monkeypatch.setattr(serving, "load_settings", lambda _environ: settings)
    monkeypatch.setattr(serving, "configure_logging", lambda _level: None)
    monkeypatch.setattr(serving, "serve", lambda *_arguments, **_named: serving.served_app())
    monkeypatch.setattr(crm_command, "_listener", lambda _options: None)
    crm_command._serve(settings, SimpleNamespace(workers=1))  # type: ignore[arg-type]
    assert steps == ["begin", "begin", "parts", "complete"]
