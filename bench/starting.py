"""What it costs to start a process, beside the import of the libraries that it cannot do without."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from bench.figures import alternating, median_of, median_ratio
from bench.options import Options
from bench.site import ROOT, Site, first_answer, free_port, start
from bench.table import Line, at_most
from bench.usage import cpu_seconds
from infrastructure.embedded import processes
from tests.support.command import bare_environ
from tests.support.processes import CRM, WORKER, running_apis
from tests.support.servers import temporary_directory

IMPORTS = "import litestar, advanced_alchemy.base, asyncpg, redis.asyncio"


async def process_start(site: Site, options: Options) -> list[Line]:
    """Seconds of CPU until a process answers its first request. Modules are compiled already."""
    crm_environ = site.environ | {"CRM_DATABASE_URL": site.postgres.dsn("convene_crm")}
    await _run([sys.executable, "-P", "-m", "crm", "migrate"], site, crm_environ)
    measures = {
        "imports": partial(_imports, site),
        "API": partial(_api, site),
        "worker": partial(_worker, site),
        "CRM": partial(_crm, site, crm_environ),
    }
    figures = await alternating(options.blocks, measures)
    limit = f"`{IMPORTS}`: {median_of(figures['imports'], float):.2f} s"
    lines = []
    for kind in ("API", "worker", "CRM"):
        ratio = median_ratio(figures[kind], figures["imports"], float)
        now = f"{median_of(figures[kind], float):.2f} s: {ratio:.2f} ×"
        lines.append(Line(f"CPU to start a process, {kind}", now, limit, (at_most(ratio, 1.5, "×"),)))
    return lines


async def up(_site: Site, options: Options) -> list[Line]:
    """`script/up` until it says that it is ready, with the data directory of an earlier start."""
    with temporary_directory() as directory:
        seconds = [await asyncio.to_thread(_up, directory / "var") for _ in range(1 + options.blocks)]
    warm = median_of(seconds[1:], float)
    return [Line("`script/up`, warm", f"{warm:.1f} s", goals=(at_most(warm, 4, "s"),))]


async def _imports(site: Site) -> float:
    argv = [sys.executable, "-P", "-c", IMPORTS]
    return await _run(argv, site, site.environ)


async def _run(argv: list[str], site: Site, environ: dict[str, str]) -> float:
    """Seconds of CPU of a process that ends by itself."""
    process = processes.spawn(argv, log=site.directory / "run.log", environ=environ, cwd=ROOT)
    _, status, taken = await asyncio.to_thread(os.wait4, process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(argv[1:])} failed")
    return taken.ru_utime + taken.ru_stime


async def _api(site: Site) -> float:
    with running_apis(1, site.environ, site.directory) as (api,):
        await api.ready()
        return cpu_seconds(api.pid)


async def _worker(site: Site) -> float:
    port = free_port()
    process = start(site.directory, *WORKER, environ=site.environ | {"WORKER_PROBE_PORT": str(port)})
    try:
        await first_answer(("127.0.0.1", port), "/health/live")
        return cpu_seconds(process.pid)
    finally:
        await asyncio.to_thread(processes.stop, process, (signal.SIGTERM, 15))


async def _crm(site: Site, environ: dict[str, str]) -> float:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = start(site.directory, *CRM, str(listener.fileno()), environ=environ, fds=(listener.fileno(),))
        try:
            await first_answer(listener.getsockname(), "/")
            return cpu_seconds(process.pid)
        finally:
            await asyncio.to_thread(processes.stop, process, (signal.SIGTERM, 15))


def _up(data: Path) -> float:
    began = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [ROOT / "script" / "up", "--api-port", "0", "--crm-port", "0", "--data", data],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=bare_environ(),
        )
        try:
            assert process.stdout
            for line in process.stdout:
                if line.startswith("ready"):
                    return time.perf_counter() - began
            raise SystemExit("script/up did not start")
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
