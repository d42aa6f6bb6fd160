"""The calls of a test module over HTTP and their answers, to find documented endpoints without a test."""

from typing import NamedTuple

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send


class Call(NamedTuple):
    method: str
    path: str


_answered: set[Call] = set()


def recorded(app: ASGIApp) -> ASGIApp:
    """The application, which notes every call that it does not refuse."""

    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        # The application takes a trailing slash off the path while it routes.
        call = Call(scope["method"], scope["path"]) if scope["type"] == ScopeType.HTTP else None

        async def noting(message: Message) -> None:
            if call is not None and message["type"] == "http.response.start" and message["status"] < 400:
                _answered.add(call)
            await send(message)

        await app(scope, receive, noting)

    return recording


def begin() -> None:
    """Forgets what earlier modules called."""
    _answered.clear()


def answered() -> frozenset[Call]:
    return frozenset(_answered)
