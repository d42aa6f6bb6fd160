"""API, CRM and worker processes as they run in production: each its own interpreter."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from infrastructure.embedded import processes
from tests.support.callers import Address, Caller, request
from tests.support.command import bare_environ
from tests.support.settings import DATABASE_TIMEOUT_SECONDS, JWT_SECRET_KEY, REQUEST_QUEUE_MS

API = ("interfaces.cli", "api", "--fd")
CRM = ("crm", "serve", "--fd")
WORKER = ("interfaces.cli", "worker")


def server_environ(database_url: str, redis_url: str, data: Path, **settings: str) -> dict[str, str]:
    """The environment of an API process or a worker: these settings, the rest as by default."""
    return bare_environ(
        DATABASE_URL=database_url,
        REDIS_URL=redis_url,
        CONVENE_DATA=str(data),
        CONVENE_EMBEDDED="1",
        JWT_SECRET_KEY=JWT_SECRET_KEY,
        CRM_BEARER_TOKEN="a-token-of-the-tests",
        BACKEND_SERVICE_TOKEN="a-service-token-of-the-tests",
        DRAIN_SECONDS="0",
        DATABASE_TIMEOUT_SECONDS=DATABASE_TIMEOUT_SECONDS,
        REQUEST_QUEUE_MS=REQUEST_QUEUE_MS,
    ) | {name.upper(): value for name, value in settings.items()}


class ApiProcess:
    """Listens on a port of its own from the start; it answers when `ready` returns. `log` is what it says."""

    def __init__(self, environ: dict[str, str], log: Path, module: Sequence[str] = API) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            self.address: Address = listener.getsockname()
            self.process: subprocess.Popen[bytes] = processes.spawn(
                [sys.executable, "-P", "-m", *module, str(listener.fileno())],
                log=log,
                environ=environ,
                pass_fds=(listener.fileno(),),
            )
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ready(self, path: str = "/health") -> None:
        """The kernel takes connections from the first moment on; the first answer says that it serves."""
        try:
            caller = await Caller.connect(self.address)
            answer = await caller(request("GET", path))
            caller.close()
        except ConnectionError:
            raise AssertionError(f"the API did not start: {self.log.read_text()[-2000:]}") from None
        assert answer.status == 200, answer

    def kill(self) -> None:
        """SIGKILL, as by the kernel when memory runs out."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        processes.stop(self.process, (signal.SIGTERM, 10))


@contextlib.contextmanager
def running_apis(
    number: int, environ: dict[str, str], logs: Path, module: Sequence[str] = API
) -> Iterator[list[ApiProcess]]:
    """So many of them, starting; stopped at the end."""
    running: list[ApiProcess] = []
    try:
        for index in range(number):
            running.append(ApiProcess(environ, logs / f"{module[0]}-{index}.log", module))
        yield running
    finally:
        for process in running:
            process.stop()


@contextlib.asynccontextmanager
async def ended_elsewhere() -> AsyncIterator[contextlib.ExitStack]:
    """What is entered here is left in a thread: processes may end only when what they talk to, here, answers them."""
    stack = contextlib.ExitStack()
    try:
        yield stack
    finally:
        await asyncio.to_thread(stack.close)


@contextlib.contextmanager
def running_crm_process(environ: dict[str, str], logs: Path, module: Sequence[str] = CRM) -> Iterator[ApiProcess]:
    """The CRM with a new schema in `CRM_DATABASE_URL`."""
    migrated = processes.run([sys.executable, "-P", "-m", "crm", "migrate"], environ=environ)
    assert migrated.returncode == 0, migrated.stderr
    with running_apis(1, environ, logs, module) as (process,):
        yield process


@contextlib.contextmanager
def running_workers(
    number: int, environ: dict[str, str], logs: Path, module: Sequence[str] = WORKER
) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """So many of them, starting; stopped at the end."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(number):
            argv = [sys.executable, "-P", "-m", *module]
            running.append(processes.spawn(argv, log=logs / f"{module[0]}-worker-{index}.log", environ=environ))
        yield running
    finally:
        for process in running:
            processes.stop(process, (signal.SIGTERM, 10))
