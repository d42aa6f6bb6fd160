"""What `python -m crm serve` runs: the server, and the application in each serving process."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from crm.server_check import StartError
from crm.settings import CrmSettings, load_settings
from servicekit.http_server import prepare, server_options
from servicekit.logging import configure_logging
from servicekit.process import begin_start, complete_start, end_process
from servicekit.tasks import LongLivedTasks

if TYPE_CHECKING:
    from litestar import Litestar

GRACE_SECONDS = 10
HEALTH_CHECK_SECONDS = 30


def served_app() -> Litestar:
    """The application as each serving process makes it; a process of several ends with the one that started it."""
    # Litestar imports advanced-alchemy, and that SQLAlchemy: 0.35 s of CPU and 29 MB. The CRM uses asyncpg alone.
    begin_start("advanced_alchemy", "sqlalchemy")
    from crm.app import create_app

    settings = load_settings(os.environ)
    configure_logging(settings.log_level)
    if parent := multiprocessing.parent_process():

        def end_with_parent() -> None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=end_with_parent, daemon=True).start()
    app = create_app(settings, tasks=LongLivedTasks(end_process))
    complete_start()
    return app


def http_protocol(**arguments: Any) -> Any:
    """One connection of this serving process."""
    return _protocol()(**arguments)


@functools.cache
def _protocol() -> Any:
    from crm.api.errors import connection_error
    from crm.api.middleware import SECURITY_HEADERS

    return server_options(load_settings(os.environ).http, connection_error, headers=SECURITY_HEADERS)["http"]


def serve(settings: CrmSettings, listener: socket.socket, *, workers: int) -> None:
    """Serves until it is stopped. Raises `StartError` if it has never served."""
    configure_logging(settings.log_level)
    listeners = prepare(listener, settings.http)
    config = uvicorn.Config(
        "crm.serving:served_app",
        factory=True,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # The parent kills a process that does not answer in time. On a busy machine the imports take longer than 5 s.
        timeout_worker_healthcheck=HEALTH_CHECK_SECONDS,
        # Names, not objects: each serving process imports what they stand for while it already answers its parent.
        http="crm.serving:http_protocol",
        ws="none",
    )
    with listener:
        if workers > 1:
            with tempfile.TemporaryDirectory(prefix="crm-metrics-") as directory:
                os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", directory)
                Multiprocess(config, sockets=listeners).run()
        else:
            server = uvicorn.Server(config)
            server.run(sockets=listeners)
            if not server.started:
                raise StartError("the service did not start: see the log above")
