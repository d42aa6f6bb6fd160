"""A fork server: the services' processes without the seconds of CPU that an interpreter needs to import them.

`install` makes `subprocess.Popen` start `python -m interfaces.cli`, `-m crm`, `-m tests.support.…` and the `convene`
command as forks of one interpreter per test process that has imported everything already. Such a process is as real as
another: own pid, command line, environment, working directory, descriptors and session; it is a child of the test
process, which waits for it and signals it as usual. A command that starts such processes has a fork server of its own,
which is its child. What depends on settings that Python and its libraries read while they start runs in a new
interpreter as ever, and so does everything within `new_interpreters`.

Linux only: elsewhere every process is a new interpreter.
"""

import atexit
import contextlib
import ctypes
import inspect
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CONVENE = Path(sys.executable).parent / "convene"
MODULES = ("interfaces.cli", "crm", "crm.settings", "tests.support.")
"""What may be forked: the services, and those of the tests that are services with a fault."""

IMPORTED = ("interfaces.http.app", "interfaces.workers.main", "interfaces.cli.server", "crm.serving", "crm.commands")
_READ_AT_START = ("PYTHON", "LD_", "LC_", "TZ", "MALLOC_")
"""Beginnings of environment variables that are read while an interpreter starts or a library is imported."""
_INDIFFERENT = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LENGTH = struct.Struct("!I")
_ROOM = 20_000
"""Bytes of the fork server's command line and of its environment, in which its forks show theirs."""


class Order(NamedTuple):
    """What is to be run, and how."""

    module: str
    arguments: list[str]
    environ: dict[str, str]
    cwd: str
    new_session: bool
    from_cwd: bool
    """Whether modules are looked for in the working directory first, as without `-P`."""
    fds: list[int]
    """The numbers that the descriptors sent along are to have."""
    command_line: list[str]


# In the test process


class _Server:
    """The connection to the fork server, which starts when it is first needed."""

    def __init__(self, connection: socket.socket | None = None) -> None:
        self._lock = threading.Lock()
        self._socket = connection
        self.environ: dict[str, str] = {}
        self.paused = False

    def fork(self, order: Order, fds: Sequence[int]) -> int:
        """The pid of the new process, a child of this one."""
        with self._lock:
            ours = self._socket = self._socket or self._start()
            libc = ctypes.CDLL(None)
            # The fork server starts it by way of a process that ends, so that it is handed on to us.
            libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                payload = json.dumps(order).encode()
                socket.send_fds(ours, [_LENGTH.pack(len(payload))], fds)
                ours.sendall(payload)
                (pid,) = _LENGTH.unpack(_exactly(ours, _LENGTH.size))
            finally:
                libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return int(pid)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            _NewInterpreter(
                [sys.executable, "-P", "-m", "tests.support.fork_server", str(theirs.fileno()), " " * _ROOM],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=self.environ | {"ROOM": " " * _ROOM},
                start_new_session=True,
            ).returncode = 0  # It ends with this process: nothing waits for it.
        return ours


_server = _Server()
_NewInterpreter = subprocess.Popen
_PARAMETERS = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


class _Popen(subprocess.Popen[Any]):
    def _execute_child(self, *arguments: Any) -> None:
        given = _PARAMETERS.bind(self, *arguments).arguments
        fds = {
            0: _first(given["p2cread"], 0),
            1: _first(given["c2pwrite"], 1),
            2: _first(given["errwrite"], 2),
        } | {number: number for number in given["pass_fds"]}
        order = _order(given, list(fds))
        if order is None:
            super()._execute_child(*arguments)  # type: ignore[misc]
            return
        self.pid = _server.fork(order, list(fds.values()))
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))  # type: ignore[attr-defined]


def install(environ: Mapping[str, str]) -> None:
    """`environ` is that of the fork server; a process whose environment differs from it in what is read at the start
    is a new interpreter."""
    if sys.platform == "linux":
        _server.environ = dict(environ)
        subprocess.Popen = _Popen  # type: ignore[misc]


@contextlib.contextmanager
def new_interpreters() -> Iterator[None]:
    """Within it nothing is forked: for tests of how the services start."""
    before, _server.paused = _server.paused, True
    try:
        yield
    finally:
        _server.paused = before


def _order(given: Mapping[str, Any], fds: list[int]) -> Order | None:
    """What the fork server is asked for; None for what it is not for."""
    argv = given["args"]
    prepared = given["preexec_fn"] is None or given["preexec_fn"].__module__ == "infrastructure.embedded.processes"
    if _server.paused or not prepared or given["uid"] is not None or isinstance(argv, str | bytes | os.PathLike):
        return None
    argv = [os.fspath(part) for part in argv]
    environ = dict(os.environ if given["env"] is None else given["env"])
    if argv[0] == str(CONVENE):
        module, arguments, from_cwd = "interfaces.cli", argv[1:], False
    elif argv[0] == sys.executable and "-m" in argv[1:3] and argv[1] in ("-m", "-P"):
        at = argv.index("-m")
        module, arguments, from_cwd = argv[at + 1], argv[at + 2 :], at == 1
    else:
        return None
    known = module in MODULES or any(module.startswith(each) for each in MODULES if each.endswith("."))
    if not known or _read_at_start(environ) != _read_at_start(_server.environ):
        return None
    cwd = os.fspath(given["cwd"] or os.getcwd())  # noqa: PTH109
    return Order(module, arguments, environ, cwd, given["start_new_session"], from_cwd, fds, argv)


def _read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environ.items() if name.startswith(_READ_AT_START) and name not in _INDIFFERENT
    }


def _first(fd: int, otherwise: int) -> int:
    return otherwise if fd == -1 else fd


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = connection.recv(size - len(received))
        if not more:
            raise ConnectionError("the fork server ended")
        received += more
    return received


# In the fork server and its forks


def _serve(connection: socket.socket) -> Order | None:
    """In the fork server, None when it is over; in each process that it forks, what this one is to run."""
    while True:
        head, fds, _, _ = socket.recv_fds(connection, _LENGTH.size, 32)
        if not head:
            return None
        order = Order(*json.loads(_exactly(connection, *_LENGTH.unpack(head))))
        read, write = os.pipe()
        between = os.fork()
        if not between:
            between = os.getpid()
            pid = os.fork()
            if pid:
                os.write(write, _LENGTH.pack(pid))
                os._exit(0)
            connection.close()
            return _become(order, fds, between)
        os.waitpid(between, 0)
        connection.sendall(os.read(read, _LENGTH.size))
        for fd in (read, write, *fds):
            os.close(fd)


def _become(order: Order, fds: Sequence[int], between: int) -> Order | None:
    """As `_serve`; what it returns differs from `order` in the forks of the fork server that starts here."""
    import fcntl

    from prometheus_client import values

    while os.getppid() == between:
        time.sleep(0.001)
    # As in `infrastructure.embedded.processes`: no process outlives the one that started it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    forks: socket.socket | None = None
    if _starts_others(order):
        forks, theirs = socket.socketpair()
        if not os.fork():
            for fd in fds:
                os.close(fd)
            forks.close()
            os.setsid()
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
            return _serve(theirs)
        theirs.close()
    if order.new_session:
        os.setsid()
    free = max(*order.fds, *fds, 100) + 1
    kept = [fcntl.fcntl(fd, fcntl.F_DUPFD, free) for fd in fds]
    if forks is not None:
        _fork_by(socket.socket(fileno=fcntl.fcntl(forks.detach(), fcntl.F_DUPFD_CLOEXEC, free)))
    os.closerange(3, free)
    for number, fd in zip(order.fds, kept, strict=True):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.environ)
    _show(order)
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # The environment decides it.
    sys.argv = [order.module, *order.arguments]
    if order.from_cwd:
        sys.path.insert(0, order.cwd)
    return order


def _starts_others(order: Order) -> bool:
    """Whether it is a command that starts interpreters itself."""
    command = order.arguments[0] if order.module == "interfaces.cli" and order.arguments else ""
    return command in ("up", "migrate") or (command == "api" and "--workers" in order.arguments)


def _fork_by(connection: socket.socket) -> None:
    """Lets this process fork what it starts, as the test process does."""
    global _server  # noqa: PLW0603
    environ = {name: value for name, value in os.environ.items() if name != "ROOM"}
    _server = _Server(connection)
    install(environ)


def _show(order: Order) -> None:
    """Writes the command line and the environment where the kernel reads those of /proc."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    arguments, end, variables, last = (int(field) for field in fields[45:49])
    for start, size, texts in (
        (arguments, end - arguments, order.command_line),
        (variables, last - variables, [f"{name}={value}" for name, value in order.environ.items()]),
    ):
        shown = b"".join(os.fsencode(text) + bytes(1) for text in texts)
        assert len(shown) < size, "more room is needed"
        ctypes.memmove(start, shown.ljust(size, bytes(1)), size)


def _main() -> None:
    import gc
    from importlib import import_module

    for name in IMPORTED:
        import_module(name)
    _prepare_applications()
    assert "opentelemetry.sdk" not in sys.modules, "it reads the environment"
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, threading.enumerate()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        order = _serve(connection)
    if order is not None:
        sys.modules.pop(order.module, None)
        _run(order.module)


def _run(module: str) -> None:
    """Ends the process without tearing down every imported module, which takes 0.1 s of CPU: after that of threads and
    what was registered for the exit, as the interpreter does it."""
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        status = end.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):  # The interpreter reports what cannot be written.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status & 0xFF)
    sys.exit(status)


def _prepare_applications() -> None:
    """Makes one of each, so that what applications of a kind have in common is there before the fork."""
    from crm.app import create_app as create_crm
    from crm.commands import DRAWING
    from crm.settings import load_settings as load_crm_settings
    from interfaces.http import app
    from tests.support import savings, shared_routes
    from tests.support.settings import settings_for

    savings.save()
    shared_routes.share()
    nowhere = "postgresql://convene@127.0.0.1:1/convene", "redis://127.0.0.1:1", Path("/nonexistent")
    app.create_app(settings_for(*nowhere))
    create_crm(load_crm_settings(DRAWING))


if __name__ == "__main__":
    _main()
