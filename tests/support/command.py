"""The `convene` command as a person runs it: a process, its output, its status."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from interfaces.cli import main
from tests.support import shifted_clock

CONVENE = Path(sys.executable).parent / "convene"
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", *shifted_clock.PASSED_ON)


def bare_environ(**settings: str) -> dict[str, str]:
    """An environment without any setting but these."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | settings


def convene(
    *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, within `seconds`."""
    return subprocess.run(
        [CONVENE, *arguments],
        cwd=cwd,
        env=dict(environ) if environ is not None else bare_environ(),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def convene_here(*arguments: str, cwd: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command within this process, for tests of what it does rather than of its process. While it runs, its
    environment, working directory and output are those of the whole process."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch.object(sys, "argv", ["convene", *arguments]),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(["convene", *arguments], status, out.getvalue(), err.getvalue())


def processes_of(data: Path) -> list[str]:
    """Command lines of the living processes that name this data directory, in their arguments or environment."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            cmdline = (process / "cmdline").read_bytes().rstrip(bytes(1))
            if str(data).encode() in cmdline + (process / "environ").read_bytes():
                found.append(f"{process.name} {cmdline.replace(bytes(1), b' ').decode()}")
    return found


@dataclass
class RunningUp:
    """`convene up`, running; `data` is its data directory."""

    process: subprocess.Popen[str]
    data: Path
    lines: list[str] = field(default_factory=list)

    def line(self, *beginnings: str) -> str:
        """The next line that begins with one of these."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(text.rstrip("\n"))
            if text.startswith(beginnings):
                return self.lines[-1]
        raise AssertionError(f"no line begins with {beginnings}: {self.lines}")

    def address(self, name: str) -> str:
        return next(line.split()[1] for line in self.lines if line.startswith(name))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.line("stopped")
        return self.process.wait(60)


@contextlib.contextmanager
def running_up(data: Path, *options: str, **settings: str) -> Iterator[RunningUp]:
    """`convene up` on free ports, ready; killed at the end if it still runs."""
    process = subprocess.Popen(
        [CONVENE, "up", "--api-port", "0", "--crm-port", "0", "--data", data, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=data.parent,
        env=bare_environ(**settings),
    )
    up = RunningUp(process, data)
    try:
        up.line("ready")
        yield up
    finally:
        process.kill()
        process.communicate()
