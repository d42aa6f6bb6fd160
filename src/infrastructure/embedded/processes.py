"""Child processes that end with their parent: own session, death signal, unprivileged account for servers."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infrastructure.embedded.errors import EmbeddedError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system user a server runs as."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """The account `nobody` for root, because PostgreSQL refuses to run as root; None for an ordinary user."""
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(
            "started as root, and there is no user 'nobody' to run the servers as: start as an ordinary user"
        ) from None
    return Account(account.pw_name, account.pw_uid, account.pw_gid)


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path | None,
    environ: Mapping[str, str] | None = None,
    account: Account | None = None,
    pass_fds: Sequence[int] = (),
    cwd: Path | str = "/",
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Starts a child process in a new session. Its output is appended to `log`, or to the output of this process if
    None.

    On Linux the kernel sends it `death_signal` when this process ends for any reason. The signal depends on the thread
    that started the child. Raises RuntimeError outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("children are started from the main thread only: the death signal follows the thread")
    with open(log, "ab") if log else contextlib.nullcontext() as output:  # noqa: PTH123
        return subprocess.Popen(  # noqa: S603
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            env=None if environ is None else dict(environ),
            cwd=cwd,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            # Popen changes the user first; a later change of user would clear the death signal.
            preexec_fn=_end_with_parent(os.getpid(), death_signal),  # noqa: PLW1509
        )


def _end_with_parent(parent: int, death_signal: signal.Signals) -> Callable[[], None] | None:
    libc = _libc
    if libc is None:
        return None
    number = int(death_signal)

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def run(
    argv: Sequence[str | Path],
    *,
    account: Account | None = None,
    stdin: str | None = None,
    environ: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Runs a short command and captures its output. A command that cannot be executed has the status 126."""
    command = [str(part) for part in argv]
    try:
        return subprocess.run(  # noqa: S603
            command,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=None if environ is None else dict(environ),
            timeout=timeout,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


def wait_for_exit(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the child has ended within that time; then it is reaped."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def stop(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> None:
    """Sends each signal in turn and waits its seconds. After the last one the process and its group are killed."""
    for number, seconds in steps:
        if process.poll() is not None:
            break
        process.send_signal(number)
        if wait_for_exit(process, seconds):
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(ready: Callable[[], bool], seconds: float, *, pause: float = 0.01) -> bool:
    """Polls `ready` until it returns True. Returns False after that time."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def last_line(log: Path | None) -> str:
    """The last line of a child's log that is not empty, for the message about its end."""
    if log is None:
        return ""
    try:
        text = log.read_bytes()[-4096:].decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
