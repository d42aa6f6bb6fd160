"""The API, killed after every commit and before the answer: `python -m tests.support.mortal <fd>`.

Use cases ring for the worker between the two; here the bell is SIGKILL.
"""

import os
import signal
import socket
import sys
from dataclasses import replace

import uvicorn
from litestar.types import ASGIApp

from infrastructure import container
from infrastructure.settings import load_settings
from interfaces.http.app import assemble


class DeadlyBell:
    def nudge(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def create_app() -> ASGIApp:
    parts = container.build(load_settings(os.environ))
    usual, bell = parts.use_cases, DeadlyBell()
    use_cases = replace(
        usual,
        book_place=replace(usual.book_place, wake_ups=bell),
        create_event=replace(usual.create_event, wake_ups=bell),
        cancel_booking=replace(usual.cancel_booking, wake_ups=bell),
    )
    return assemble(replace(parts, use_cases=use_cases))


if __name__ == "__main__":
    config = uvicorn.Config(create_app, factory=True, loop="uvloop", http="httptools", access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
