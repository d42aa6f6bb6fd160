"""The supervisor, with tiny children: it restarts them, says so, stops them together and leaves none behind."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infrastructure.embedded.log_files import rotate
from tests.support.waiting import alive, eventually

SUPERVISING = """
import sys
from pathlib import Path
from infrastructure.embedded import EmbeddedError
from infrastructure.embedded.supervisor import Child, Stopped, Supervisor

home, *scripts = sys.argv[1:]
say = lambda line: print(line, flush=True)
names = ["first", "second-1", "second-2"]
try:
    with Supervisor(say=say, largest_log=10_000, look_at_logs=0.05) as supervisor:
        children = [
            Child(name, [sys.executable, "-u", "-c", script], {"NAME": name, "HOME_OF_TEST": home}, Path(home, name))
            for name, script in zip(names, scripts)
        ]
        for child in children:
            supervisor.start(child)
        supervisor.wait_until(lambda: all(Path(home, c.name + ".up").exists() for c in children), 60, "Second")
        say("up " + " ".join(str(child.pid) for child in children))
        supervisor.watch()
except Stopped:
    say("stopped")
except EmbeddedError as error:
    say(f"error {error}")
"""

BEGIN = """
import os, signal, sys, time
home, name = os.environ["HOME_OF_TEST"], os.environ["NAME"]
def stopped(*_):
    with open(home + "/order", "a") as order:
        order.write(name + "\\n")
    sys.exit()
signal.signal(signal.SIGTERM, stopped)
"""
READY = "open(home + '/' + name + '.up', 'w').close();"
"""The test may send a signal from here on: a script sets its handlers before this."""
LASTING = BEGIN + READY + "print('at work'); time.sleep(600)"
STUBBORN = BEGIN + "signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY + "time.sleep(600)"
SLOW = (
    BEGIN
    + "asked = home + '/asked-' + name; signal.signal(signal.SIGTERM, lambda *_: open(asked, 'a').write('once '));"
    + READY
    + "[time.sleep(0.1) for _ in range(600) if not os.path.exists(asked)];"
    + "until = time.monotonic() + (1 if name == 'first' else 0.5);"
    + "[time.sleep(0.1) for _ in range(600) if time.monotonic() < until]"
)
TALKATIVE = (
    BEGIN
    + READY
    + "[(print(n, 'x' * 100), time.sleep(0.001)) for n in range(300)];"
    + "[(print('after'), time.sleep(0.05)) for _ in range(2_000)]"
)
FAILING = "print('cannot find my shoes'); raise SystemExit(4)"
WITH_CHILD = (
    BEGIN
    + READY
    + "import subprocess; p = subprocess.Popen(['sleep', '600']);"
    + "open(home + '/grandchild', 'w').write(str(p.pid)); time.sleep(600)"
)


@dataclass
class Supervised:
    process: subprocess.Popen[str]
    home: Path
    lines: list[str] = field(default_factory=list)

    def line(self, beginning: str) -> str:
        """The next line that begins so."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(text.rstrip("\n"))
            if text.startswith(beginning):
                return self.lines[-1]
        raise AssertionError(f"no line begins with {beginning!r}: {self.lines}")

    def pids(self) -> list[int]:
        return [int(pid) for pid in self.line("up ").split()[1:]]


@contextlib.contextmanager
def supervised(home: Path, *scripts: str) -> Iterator[Supervised]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISING, str(home), *scripts],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Supervised(process, home)
    finally:
        process.kill()
        process.communicate()


def test_killed_child_is_restarted_and_both_events_are_reported(tmp_path: Path) -> None:
    with supervised(tmp_path, LASTING, LASTING) as system:
        first, second = system.pids()
        os.kill(first, signal.SIGKILL)
        assert system.line("first ended").startswith("first ended (SIGKILL); it starts again in")
        again = int(system.line("first runs again (process ").split()[-1].rstrip(")"))
        assert alive(again)
        assert alive(second)


def test_child_that_ends_again_restarts_later_and_its_last_line_is_quoted(tmp_path: Path) -> None:
    with supervised(tmp_path, BEGIN + READY + "print('no more tea'); sys.exit(3)") as system:
        assert "exit status 3" in system.line("first ended")
        again = system.line("first ended")
        assert again.endswith('it starts again in 1 s, its last words: "no more tea"')
        assert "in 2 s" in system.line("first ended")


def test_child_that_fails_to_start_aborts_with_its_last_line(tmp_path: Path) -> None:
    with supervised(tmp_path, LASTING, FAILING) as system:
        said = system.line("error ")
        assert said.startswith("error second-1 does not start, it ended (exit status 4): cannot find my shoes (log: ")
        assert not (tmp_path / "order").exists() or (tmp_path / "order").read_text() == "first\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_all_children(tmp_path: Path, number: signal.Signals) -> None:
    with supervised(tmp_path, LASTING, LASTING, LASTING) as system:
        pids = system.pids()
        system.process.send_signal(number)
        system.line("stopping")
        system.line("stopped")
        assert system.process.wait() == 0
        order = (tmp_path / "order").read_text().splitlines()
        assert sorted(order) == ["first", "second-1", "second-2"]
        assert not any(alive(pid) for pid in pids)


def test_children_are_stopped_in_parallel(tmp_path: Path) -> None:
    with supervised(tmp_path, LASTING, STUBBORN) as system:
        _, stubborn = system.pids()
        system.process.terminate()
        assert eventually((tmp_path / "order").exists)
        assert alive(stubborn)


def test_child_gets_one_stop_signal(tmp_path: Path) -> None:
    with supervised(tmp_path, SLOW, SLOW) as system:
        system.pids()
        system.process.terminate()
        system.line("stopped")
        assert [(tmp_path / f"asked-{name}").read_text() for name in ("first", "second-1")] == ["once ", "once "]


def test_second_signal_kills_remaining_children(tmp_path: Path) -> None:
    with supervised(tmp_path, STUBBORN) as system:
        pids = system.pids()
        system.process.send_signal(signal.SIGINT)
        system.line("stopping")
        system.process.send_signal(signal.SIGINT)
        system.line("stopped")
        assert not any(alive(pid) for pid in pids)


def test_grandchildren_are_stopped_too(tmp_path: Path) -> None:
    with supervised(tmp_path, WITH_CHILD) as system:
        system.pids()
        note = tmp_path / "grandchild"
        assert eventually(lambda: note.exists() and bool(note.read_text()))
        system.process.terminate()
        system.line("stopped")
        assert eventually(lambda: not alive(int(note.read_text())))


def test_kill_9_of_the_supervisor_leaves_no_child(tmp_path: Path) -> None:
    with supervised(tmp_path, LASTING, STUBBORN) as system:
        pids = system.pids()
        assert all(alive(pid) for pid in pids)
        system.process.kill()
        assert eventually(lambda: not any(alive(pid) for pid in pids))


def test_log_is_rotated_while_its_child_writes(tmp_path: Path) -> None:
    with supervised(tmp_path, TALKATIVE, LASTING) as system:
        system.pids()
        log, previous = tmp_path / "first", tmp_path / "first.1"
        assert eventually(lambda: previous.exists() and "after" in log.read_text())
        assert previous.stat().st_size > 10_000
        assert log.stat().st_size < 10_000
        assert "\0" not in log.read_text()  # The child appends: it leaves no hole.
        assert not (tmp_path / "second-1.1").exists()
    _, *lines = previous.read_text().splitlines()
    numbers = [int(line.split()[0]) for line in lines if line.endswith("x" * 100)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_log_of_a_full_disk_is_emptied_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(*_: object) -> None:
        raise OSError(28, "no space left")

    log = tmp_path / "api.log"
    log.write_text("x" * 100)
    monkeypatch.setattr("shutil.copyfileobj", copy)
    rotate(log, 100)
    assert log.stat().st_size == 100
    rotate(log, 99)
    assert (log.stat().st_size, list(tmp_path.iterdir())) == (0, [log])
    rotate(tmp_path / "missing.log")
