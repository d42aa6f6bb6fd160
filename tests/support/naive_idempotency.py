"""The API with naive idempotency keys: it looks whether there is an answer, and writes one down afterwards.

For tests only (`python -m tests.support.naive_idempotency <fd>`). A race test that still passes with this API
proves nothing.
"""

import asyncio
import os
import socket
import sys

import uvicorn
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from infrastructure import container
from infrastructure.settings import load_settings
from interfaces.http.app import create_litestar
from interfaces.http.error_formats import ERROR_FORMATS
from interfaces.http.middleware import RequestMiddleware


class NaiveAnswers:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._kept: dict[bytes, list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = dict(scope["headers"]).get(b"idempotency-key", b"") if scope["type"] == ScopeType.HTTP else b""
        if not key:
            await self._app(scope, receive, send)
            return
        answer = self._kept.get(key)
        if answer is None:
            # Long enough for all callers to have looked, however the processes are scheduled.
            await asyncio.sleep(0.1)
            answer = []

            async def hold_back(message: Message) -> None:
                answer.append(message)

            await self._app(scope, receive, hold_back)
            self._kept[key] = answer
        for message in answer:
            await send(message)


def create_app() -> ASGIApp:
    parts = container.build(load_settings(os.environ))
    return RequestMiddleware(NaiveAnswers(create_litestar(parts)), ERROR_FORMATS, parts.answered)


if __name__ == "__main__":
    config = uvicorn.Config(create_app, factory=True, loop="uvloop", http="httptools", access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
