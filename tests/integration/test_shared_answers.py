"""Anonymous requests for the same events that come together share an answer."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import pytest

from infrastructure import container
from infrastructure.settings import Settings
from interfaces.http.app import assemble
from interfaces.http.shared_answers import OUTAGE, SharedAnswers
from tests.conftest import a_client
from tests.support.http import serving
from tests.support.load import many_users, some_events
from tests.support.messages import until

A_MINUTE = 60


class Framework:
    """Answers with what is stored at the start of a request, and holds the first answer back."""

    def __init__(self) -> None:
        self.stored = b"before"
        self.status = 200
        self.handled: list[Any] = []
        self.opened = asyncio.Event()

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        self.handled.append(scope)
        body, status = self.stored, self.status
        scope["path_template"] = "/events"
        if len(self.handled) == 1:
            await self.opened.wait()
        else:
            await asyncio.sleep(0)
        if OUTAGE in scope:
            body = b"outage"
        await send({"type": "http.response.start", "status": status, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class Client:
    """A request, which has reached the middleware when `sent` returns."""

    def __init__(self, path: str = "/events", query: bytes = b"limit=20", method: str = "GET", **headers: str) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "state": {},
        }
        self.messages: list[Any] = []

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-request-id", b"%d" % id(self))]  # as the middleware around
        self.messages.append(message)

    async def sent(self, app: Any) -> "asyncio.Task[None]":
        task = asyncio.create_task(app(self.scope, None, self.send))
        await asyncio.sleep(0)
        return task

    @property
    def answer(self) -> tuple[int, bytes]:
        start, body = self.messages
        assert start["headers"] == [(b"x", b"y"), (b"x-request-id", b"%d" % id(self))]
        return start["status"], body["body"]


@pytest.fixture
def framework() -> Framework:
    return Framework()


async def answers(framework: Framework, clients: Sequence[Client], *, seconds: float = A_MINUTE) -> list[Any]:
    app = SharedAnswers(framework, seconds=seconds)
    tasks = [await client.sent(app) for client in clients]
    framework.opened.set()
    async with asyncio.timeout(A_MINUTE):
        await asyncio.gather(*tasks)
    assert app._waiting == {}, "nothing is kept"
    return [client.answer for client in clients]


async def test_requests_that_wait_share_an_answer(framework: Framework) -> None:
    clients = [Client() for _ in range(5)]
    assert await answers(framework, clients) == [(200, b"before")] * 5
    assert len(framework.handled) == 2, "the first one, and one for the others"
    assert [client.scope["path_template"] for client in clients] == ["/events"] * 5


@pytest.mark.parametrize(
    "others",
    [
        [Client(query=b"limit=21"), Client(query=b"")],
        [Client(path="/events/1"), Client(path="/events/2")],
        [Client(origin="https://a.example"), Client(origin="https://b.example")],
        [Client(authorization="Bearer x"), Client(authorization="Bearer x")],
        [Client(cookie="x=y"), Client(cookie="x=y")],
        [Client(path="/profile"), Client(path="/profile"), Client(path="/eventsx"), Client(path="/eventsx")],
        [Client(method="POST"), Client(method="POST")],
    ],
    ids=["query", "path", "origin", "credentials", "cookie", "elsewhere", "method"],
)
async def test_other_requests_have_answers_of_their_own(framework: Framework, others: list[Client]) -> None:
    await answers(framework, [Client(), *others])
    assert len(framework.handled) == 1 + len(others)


class _Joining:
    """The negative control: shares the answer that is under way."""

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        self._running: asyncio.Task[None] | None = None
        self._messages: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def keep(message: Any) -> None:
            self._messages.append(message)

        if self._running is None:
            self._running = asyncio.create_task(self._framework(scope, receive, keep))
        await self._running
        for message in self._messages:
            await send(message.copy())


@pytest.mark.parametrize("waits", [True, False])
async def test_answer_has_what_was_stored_before_its_request(framework: Framework, waits: bool) -> None:
    """A person changes an event and then looks at it, while another one is already being answered."""
    app: Any = SharedAnswers(framework, seconds=A_MINUTE) if waits else _Joining(framework)
    earlier, later = Client(), Client()
    tasks = [await earlier.sent(app)]
    await until(lambda: bool(framework.handled))
    framework.stored = b"after"
    tasks.append(await later.sent(app))
    framework.opened.set()
    await asyncio.gather(*tasks)
    assert [earlier.answer, later.answer] == [(200, b"before"), (200, b"after" if waits else b"before")]


async def test_outage_is_answered_to_each_without_another_query(framework: Framework) -> None:
    framework.status = 503
    assert await answers(framework, [Client() for _ in range(3)]) == [(503, b"before")] + [(503, b"outage")] * 2
    assert [OUTAGE in scope for scope in framework.handled] == [False, False, True, True]


async def test_wait_is_bounded(framework: Framework) -> None:
    framework.status = 503
    app = SharedAnswers(framework, seconds=0)
    first, second = Client(), Client()
    tasks = [await first.sent(app), await second.sent(app)]
    await tasks[1]
    assert second.answer == (503, b"outage")
    framework.opened.set()
    await tasks[0]


@pytest.mark.parametrize("status", [304, 400, 404, 500])
async def test_other_statuses_are_not_shared(framework: Framework, status: int) -> None:
    """Errors have the id of their request."""
    framework.status = status
    assert await answers(framework, [Client() for _ in range(3)]) == [(status, b"before")] * 3
    assert len(framework.handled) == 4


async def test_clients_that_hang_up_do_not_cancel_the_others(framework: Framework) -> None:
    app = SharedAnswers(framework, seconds=A_MINUTE)
    clients = [Client() for _ in range(4)]
    tasks = [await client.sent(app) for client in clients]
    for task in tasks[:2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [client.answer for client in clients[2:]] == [(200, b"before")] * 2
    assert app._waiting == {}


async def test_concurrent_lists_of_the_api_are_equal(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    """With the layers around: request ids, and the count of requests by route."""
    [facilitator] = await many_users(database, 1, role="facilitator")
    await some_events(database, facilitator.id, 3, capacity=5)
    parts = container.build(make_settings())
    async with serving(assemble(parts)) as address, a_client(address) as api:
        found = await asyncio.gather(*(api.get("/events", params={"limit": 2}) for _ in range(20)))
        assert {answer.status_code for answer in found} == {200}
        assert len({answer.content for answer in found}) == 1
        assert len(found[0].json()["events"]) == 2
        assert {answer.headers["link"] for answer in found} == {found[0].headers["link"]}
        assert len({answer.headers["x-request-id"] for answer in found}) == 20
    labels = {"route": "/events", "method": "GET", "status": "2xx"}
    assert parts.metrics._registry.get_sample_value("convene_http_requests_total", labels) == 20
