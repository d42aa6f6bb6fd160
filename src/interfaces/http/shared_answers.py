"""Anonymous requests for the same events at the same time share an answer."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from domain.errors import Unavailable
from servicekit.queued_lookups import QueuedLookups

OUTAGE = "convene.outage"
"""Key of the scope of a request whose shared answer was an outage: the framework answers it as one, without a query."""

_EVENTS = "/events"
_BELOW = f"{_EVENTS}/"
_PERSONAL = frozenset({b"authorization", b"cookie"})
_Key: TypeAlias = tuple[str, bytes, bytes]


class _Request:
    """One of those that wait for the same answer."""

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send


class _Answer(NamedTuple):
    """Without `messages` the request has been answered by itself."""

    messages: Sequence[Any]
    path_template: str


_ANSWERED = _Answer((), "")


class SharedAnswers:
    """ASGI middleware for anonymous GET requests for `/events` and what is below it. Their answers depend only on the
    path, the query and, for CORS, the origin.

    - A request is answered immediately if no other one for the same is under way. Those that come meanwhile wait, and
      then get one answer together, which is read after they came. Nothing is kept.
    - Each has its own request id and line in the log. Only answers with status 200 are shared. After an outage each
      gets 503, after any other error each is answered by itself.
    - A request waits for at most `seconds`.
    """

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self._app = app
        self._seconds = seconds
        self._waiting: dict[_Key, QueuedLookups[_Request, _Answer]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or (key := _key(scope)) is None:
            await self._app(scope, receive, send)
            return
        answers = self._waiting.get(key)
        if answers is None:
            answers = self._waiting[key] = QueuedLookups(
                self._answer,
                self._answer_together,
                unavailable=Unavailable,
                seconds=self._seconds,
                ended=partial(self._waiting.__delitem__, key),
            )
        try:
            answer = await answers(_Request(scope, receive, send))
        except Unavailable:
            scope[OUTAGE] = True  # type: ignore[literal-required]
            await self._app(scope, receive, send)
            return
        if answer is None:
            await self._app(scope, receive, send)
            return
        if answer.messages:
            scope["path_template"] = answer.path_template
        for message in answer.messages:
            await send(message.copy())

    async def _answer(self, request: _Request) -> _Answer:
        await self._app(request.scope, request.receive, request.send)
        return _ANSWERED

    async def _answer_together(self, requests: Collection[_Request]) -> Mapping[_Request, _Answer]:
        """Raises `Unavailable`."""
        scope = next(iter(requests)).scope.copy()
        scope["state"] = scope["state"].copy()
        messages: list[Any] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, _no_body, keep)
        status = messages[0]["status"]
        if status == 503:
            raise Unavailable
        if status != 200:
            return {}
        return dict.fromkeys(requests, _Answer(messages, scope["path_template"]))


def _key(scope: HTTPScope) -> _Key | None:
    """What decides an answer that is the same for everybody. None for other requests."""
    path = scope["path"]
    if scope["method"] != "GET" or not (path == _EVENTS or path.startswith(_BELOW)):
        return None
    origin = b""
    for name, value in scope["headers"]:
        if name in _PERSONAL:
            return None
        if name == b"origin":
            origin += value
    return path, scope["query_string"], origin


async def _no_body() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}
