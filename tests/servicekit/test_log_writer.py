"""A log call neither blocks nor raises where its line cannot be written; what is not written is counted."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from servicekit import log_writer
from servicekit.log_writer import LineWriter
from servicekit.logging import configure_logging, dropped_lines

LONG_WAIT = 30
"""Seconds for what happens in milliseconds."""


@pytest.fixture(autouse=True)
def _previous_configuration() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**configured)


@contextlib.contextmanager
def standard_error(descriptor: int) -> Iterator[None]:
    """Makes the descriptor standard error, as at the start of a process."""
    kept, previous = os.dup(2), sys.stderr
    sys.stderr = sys.__stderr__
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        sys.stderr = previous


@contextlib.contextmanager
def small_pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)


def log_with_every_library() -> None:
    structlog.get_logger().warning("first", text="x" * 500)
    logging.getLogger("a library").error("second %s", "y" * 500)
    structlog.stdlib.get_logger("crm.here").error("failed", exc_info=ValueError("third"))


def dropped_since(before: Mapping[str, int]) -> dict[str, int]:
    return {reason: count - before[reason] for reason, count in dropped_lines().items() if count > before[reason]}


def _in_background(pipe: int) -> Callable[[], list[str]]:
    """Reads until the last writer has closed the pipe. The result waits for that."""
    received = bytearray()

    def read() -> None:
        with open(os.dup(pipe), "rb") as reading:  # noqa: PTH123
            received.extend(reading.read())

    thread = threading.Thread(target=read)
    thread.start()

    def lines() -> list[str]:
        thread.join(LONG_WAIT)
        return received.decode().splitlines(keepends=True)

    return lines


def flush() -> bool:
    return all(writer.flush(LONG_WAIT) for writer in log_writer._writers)


def test_lines_for_a_full_disk_are_counted() -> None:
    configure_logging("info")
    before = dropped_lines()
    with open("/dev/full", "ab", buffering=0) as full, standard_error(full.fileno()):  # noqa: PTH123
        log_with_every_library()
        assert flush()
    assert dropped_since(before) == {"no_space": 3}


def test_lines_for_a_pipe_without_reader_are_counted() -> None:
    configure_logging("info")
    before = dropped_lines()
    read, write = os.pipe()
    os.close(read)
    with standard_error(write):
        os.close(write)
        log_with_every_library()
        assert flush()
    assert dropped_since(before) == {"closed": 3}


def test_lines_for_a_closed_descriptor_are_counted() -> None:
    configure_logging("info")
    before = dropped_lines()
    with standard_error(2):
        os.close(2)
        log_with_every_library()
        assert flush()
    assert dropped_since(before) == {"closed": 3}


def test_process_started_without_standard_error_writes_to_no_other_file(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("info")
    before = dropped_lines()
    with small_pipe() as (read, write), standard_error(write):
        monkeypatch.setattr(sys, "stderr", None)
        monkeypatch.setattr(sys, "__stderr__", None)
        log_with_every_library()
        assert flush()
        os.set_blocking(read, False)
        with pytest.raises(BlockingIOError):
            os.read(read, 1)
    assert dropped_since(before) == {"closed": 3}


def test_pipe_that_is_not_read_blocks_no_call_and_bounds_the_queue() -> None:
    with small_pipe() as (read, write), standard_error(write):
        writer = LineWriter("stderr", note=lambda dropped: json.dumps(dict(dropped)) + "\n", max_lines=50)
        lines = [f"{number:05} {'x' * 500}\n" for number in range(200)]
        for line in lines:
            writer.write(line)
        assert not writer.flush(0.05)
        dropped = writer.dropped["full"]
        assert dropped == 150
        received = _in_background(read)
        assert writer.flush(LONG_WAIT)
    written = received()
    # The newest lines are dropped; their number follows what can be written again.
    (note,) = [line for line in written if line.startswith("{")]
    assert json.loads(note) == {"full": dropped}
    written.remove(note)
    assert written == lines[:50]


def test_bytes_of_the_queue_are_bounded() -> None:
    with small_pipe() as (read, write), standard_error(write):
        writer = LineWriter("stderr", max_bytes=20_000)
        for _ in range(100):
            writer.write("x" * 999 + "\n")
        assert 75 <= writer.dropped["full"] <= 80
        received = _in_background(read)
        assert writer.flush(LONG_WAIT)
    assert len(received()) == 100 - writer.dropped["full"]


def test_nonblocking_pipe_and_partial_writes_lose_nothing() -> None:
    with small_pipe() as (read, write), standard_error(write):
        os.set_blocking(write, False)
        writer = LineWriter("stderr")
        lines = [f"{number} {'x' * number * 97}\n" for number in range(100)]
        for line in lines:
            writer.write(line)
        received = _in_background(read)
        assert writer.flush(LONG_WAIT)
    assert received() == lines
    assert not any(writer.dropped.values())


def test_line_after_a_partial_write_begins_a_new_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.write
    left = [7, 0]

    def write(descriptor: int, data: memoryview) -> int:
        if left and bytes(data).endswith(b"st line\n"):  # other threads may write, too
            size = left.pop(0)
            if not size:
                raise OSError(errno.ENOSPC, "no space left")
            return written(descriptor, data[:size])
        return written(descriptor, data)

    with (tmp_path / "log").open("ab") as log, standard_error(log.fileno()):
        monkeypatch.setattr(os, "write", write)
        writer = LineWriter("stderr", note=lambda dropped: f"dropped {dict(dropped)}\n")
        writer.write("the first line\n")
        assert writer.flush(LONG_WAIT)
        writer.write("the second line\n")
        assert writer.flush(LONG_WAIT)
    assert (tmp_path / "log").read_text() == "the fir\nthe second line\ndropped {'no_space': 1}\n"


def test_value_that_cannot_be_rendered_is_counted() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    configure_logging("info")
    before = dropped_lines()
    structlog.get_logger().warning("broken", value=Broken())
    logging.getLogger("a library").error("%s", Broken())
    logging.getLogger("a library").error("%s and %s", "one value")  # noqa: PLE1206
    assert dropped_since(before) == {"failed": 3}


def test_forked_process_writes_its_own_lines_only(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from servicekit.log_writer import LineWriter\n"
        "writer = LineWriter('stderr')\n"
        "writer.write('before\\n')\n"
        "child = os.fork()\n"
        "writer.write('after\\n' if child else 'child\\n')\n"
        "if child: os.waitpid(child, 0)\n"
    )
    with (tmp_path / "log").open("ab") as log:
        assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], stderr=log, check=False).returncode == 0
    assert sorted((tmp_path / "log").read_text().splitlines()) == ["after", "before", "child"]


def test_lines_are_written_before_the_process_ends(tmp_path: Path) -> None:
    code = (
        "import signal, os, sys\n"
        "from servicekit.log_writer import LineWriter\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "writer = LineWriter('stderr')\n"
        "for number in range(1000): writer.write(f'{number}\\n')\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    with (tmp_path / "log").open("ab") as log:
        assert subprocess.run([sys.executable, "-c", code], stderr=log, check=False).returncode == 0
    assert (tmp_path / "log").read_text().splitlines() == [str(number) for number in range(1000)]


def test_process_with_a_pipe_that_is_not_read_ends() -> None:
    code = (
        "from servicekit.log_writer import LineWriter\n"
        "writer = LineWriter('stderr')\n"
        "for number in range(1000): writer.write('x' * 100)\n"
    )
    with small_pipe() as (_, write):
        assert subprocess.run([sys.executable, "-c", code], stderr=write, check=False, timeout=170).returncode == 0
