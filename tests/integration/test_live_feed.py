"""The live feed of facilitators: who may follow, what they see, how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from websockets.exceptions import InvalidStatus

from application.accounts.ports.accounts import AccessClaims
from domain.accounts import LoginId, UserId
from infrastructure.auth.jwt import JsonWebTokens
from tests.support.callers import Address
from tests.support.followers import LiveUpdatePublisher, a_publisher, a_socket, a_stream, closed_with, next_update
from tests.support.load import Member, many_users
from tests.support.machine_clock import SystemClock
from tests.support.processes import ApiProcess, running_apis, server_environ
from tests.support.settings import JWT_SECRET_KEY

PAGE = "https://studio.example.com"
PROMISED_SECONDS = 5
"""From the end of a token to the end of its connections."""


@pytest.fixture(scope="module")
def api_process(
    shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiProcess]:
    data = tmp_path_factory.mktemp("feed")
    environ = server_environ(shared_database_url, redis_url, data, cors_allowed_origins=PAGE)
    with running_apis(1, environ, data) as (api,):
        yield api


@pytest.fixture(scope="module")
async def address(api_process: ApiProcess) -> Address:
    await api_process.ready()
    return api_process.address


@pytest.fixture(scope="module")
async def publisher(shared_database_url: str, redis_url: str) -> AsyncIterator[LiveUpdatePublisher]:
    async with a_publisher(shared_database_url, redis_url) as opened:
        yield opened


@pytest.fixture
async def john(shared_database: asyncpg.Connection) -> Member:
    return (await many_users(shared_database, 1, role="facilitator"))[0]


# What is seen


async def test_websocket_and_stream_send_the_same_updates_in_order(
    address: Address, publisher: LiveUpdatePublisher, john: Member
) -> None:
    async with a_socket(address, john.token) as socket, a_stream(address, john.token) as stream:
        for number in range(1, 31):
            await publisher.publish(john.id, number)
        seen = [await next_update(socket) for _ in range(30)]
        streamed = [await stream.event() for _ in range(30)]
        assert [entry["data"]["booking_id"] for entry in seen] == list(range(1, 31))
        assert [entry["id"] for entry in seen] == sorted({entry["id"] for entry in seen})
        assert [data for _, data in streamed] == seen
        assert {name for name, _ in streamed} == {"booking_created"}
        assert stream.last_id == str(seen[-1]["id"])
    entry = seen[0]
    assert set(entry) == {"id", "type", "occurred_at", "data"}
    assert (entry["type"], entry["occurred_at"]) == ("booking_created", "2026-11-20T13:08:10Z")
    assert entry["data"]["event"]["price"] == 30.5


async def test_reconnecting_client_gets_missed_updates_once(
    address: Address, publisher: LiveUpdatePublisher, john: Member
) -> None:
    async with a_socket(address, john.token) as socket:
        await publisher.publish(john.id, 1)
        first = await next_update(socket)
    for number in range(2, 251):  # more than are read at once
        await publisher.publish(john.id, number)
    missed = list(range(2, 251))
    async with a_socket(address, john.token, f"?last_event_id={first['id']}") as socket:
        assert [(await next_update(socket))["data"]["booking_id"] for _ in missed] == missed
        await publisher.publish(john.id, 251)
        assert (await next_update(socket))["data"]["booking_id"] == 251
    async with a_stream(address, john.token, first["id"]) as stream:
        assert [(await stream.event())[1]["data"]["booking_id"] for _ in missed] == missed


# Who may follow


async def refused(address: Address, token: str | None, query: str = "", **options: object) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with a_socket(address, token, query, **options):
            pass
    response = caught.value.response
    assert response.headers["x-request-id"]
    assert response.headers["cache-control"] == "no-store"
    return response.status_code, json.loads(response.body)["code"]


async def test_only_facilitators_and_admins_can_follow(
    address: Address, john: Member, shared_database: asyncpg.Connection
) -> None:
    (ada,) = await many_users(shared_database, 1)
    (root,) = await many_users(shared_database, 1, role="admin")
    assert await refused(address, None) == (401, "invalid_token")
    assert await refused(address, "no token") == (401, "invalid_token")
    assert await refused(address, ada.token) == (403, "forbidden")
    async with a_socket(address, root.token):
        pass
    async with httpx.AsyncClient(base_url=f"http://{address[0]}:{address[1]}") as client:
        assert (await client.get("/facilitator/feed")).status_code == 401
        answer = await client.get("/facilitator/feed", headers={"Authorization": f"Bearer {ada.token}"})
        assert answer.status_code == 403
        # A head is all that is asked for; the body would never end.
        answer = await client.head("/facilitator/feed", headers={"Authorization": f"Bearer {john.token}"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize("name", ["access_token", "token", "bearer", "authorization"])
async def test_token_in_the_url_is_rejected_and_not_logged(
    address: Address, api_process: ApiProcess, john: Member, name: str
) -> None:
    assert await refused(address, None, f"?{name}={john.token}") == (401, "invalid_token")
    async with httpx.AsyncClient(base_url=f"http://{address[0]}:{address[1]}") as client:
        assert (await client.get("/facilitator/feed", params={name: john.token})).status_code == 401
    assert john.token not in api_process.log.read_text()


async def test_browser_sends_its_token_as_a_subprotocol(
    address: Address, john: Member, publisher: LiveUpdatePublisher
) -> None:
    offered = ["convene.v1", f"bearer.{john.token}"]
    async with a_socket(address, None, "?last_event_id=0", subprotocols=offered, origin=PAGE) as socket:
        assert socket.subprotocol == "convene.v1"
        await publisher.publish(john.id, 1)
        assert (await next_update(socket))["data"]["booking_id"] == 1
    assert await refused(address, None, subprotocols=["convene.v1"]) == (401, "invalid_token")
    assert await refused(address, None, subprotocols=["convene.v1", "bearer.nonsense"]) == (401, "invalid_token")


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "https://studio.example.com.evil.example", "http://studio.example.com", ""],
)
async def test_other_origins_are_rejected(address: Address, john: Member, origin: str) -> None:
    assert await refused(address, john.token, origin=origin) == (403, "foreign_origin")


@pytest.mark.parametrize("origin", [PAGE, "http://127.0.0.1:5000", None])
async def test_own_origin_and_clients_without_origin_are_accepted(
    address: Address, john: Member, origin: str | None
) -> None:
    async with a_socket(address, john.token, origin=origin):
        pass


@pytest.mark.parametrize("given", ["x", "-1", "1.5", str(2**63), "٣", "9" * 5000])
async def test_invalid_last_id_is_rejected(address: Address, john: Member, given: str) -> None:
    assert await refused(address, john.token, f"?last_event_id={given}") == (400, "validation_error")


async def test_user_has_at_most_ten_connections(address: Address, john: Member) -> None:
    sockets = [await a_socket(address, john.token) for _ in range(9)]
    async with a_stream(address, john.token):
        assert await refused(address, john.token) == (429, "too_many_followers")
        async with httpx.AsyncClient(base_url=f"http://{address[0]}:{address[1]}") as client:
            answer = await client.get("/facilitator/feed", headers={"Authorization": f"Bearer {john.token}"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        await sockets.pop().close()
        async with a_socket(address, john.token):
            pass
    for socket in sockets:
        await socket.close()


# How it ends


@dataclass(frozen=True)
class Ending:
    name: str
    sql: str


ENDINGS = [
    Ending("log-out", "UPDATE logins SET ended_at = now() WHERE user_id = $1"),
    Ending("log-out everywhere, another password or role", "UPDATE users SET token_version = 2 WHERE id = $1"),
    Ending("deactivation", "UPDATE users SET is_active = false WHERE id = $1"),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
async def test_revoked_token_closes_the_connection(
    address: Address, john: Member, shared_database: asyncpg.Connection, ending: Ending
) -> None:
    async with a_socket(address, john.token) as socket, a_stream(address, john.token) as stream:
        await shared_database.execute(ending.sql, john.id)
        code, ended = await asyncio.gather(closed_with(socket, PROMISED_SECONDS), stream.ended(PROMISED_SECONDS))
        assert (code, ended) == (1008, True)
    assert await refused(address, john.token) == (401, "invalid_token")


async def test_expired_token_closes_the_connection(
    address: Address, john: Member, shared_database: asyncpg.Connection
) -> None:
    login = await shared_database.fetchval("SELECT id FROM logins WHERE user_id = $1", john.id)
    tokens = JsonWebTokens(JWT_SECRET_KEY, SystemClock(), access_for=timedelta(hours=1), refresh_for=timedelta(days=1))
    # The clock may differ by 5 s, so this one has 2 s left.
    issued = datetime.now(UTC) - timedelta(hours=1) - timedelta(seconds=3)
    token = tokens.issue_access(AccessClaims(UserId(john.id), LoginId(login), 1), issued)
    async with a_socket(address, token) as socket, a_stream(address, token) as stream:
        code, ended = await asyncio.gather(
            closed_with(socket, 2 + PROMISED_SECONDS), stream.ended(2 + PROMISED_SECONDS)
        )
        assert (code, ended) == (1008, True)


async def test_too_many_messages_close_the_connection(address: Address, john: Member) -> None:
    async with a_socket(address, john.token) as socket:
        for _ in range(100):
            await socket.send("{}")
        await socket.ping()
        await socket.send(b"one more")
        assert await closed_with(socket, PROMISED_SECONDS) == 1008


async def test_message_over_64_kib_closes_the_connection(
    address: Address, publisher: LiveUpdatePublisher, john: Member
) -> None:
    async with a_socket(address, john.token, "?last_event_id=0") as socket:
        await socket.send("x" * 65_536)
        await publisher.publish(john.id, 1)
        assert (await next_update(socket))["data"]["booking_id"] == 1
        await socket.send("x" * 65_537)
        assert await closed_with(socket, PROMISED_SECONDS) == 1009
