"""Following the live feed as clients do, and news to follow."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import httpx
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from domain.outbox import Destination, Message, MessageId, MessageType
from infrastructure.delivery.live_updates import LiveUpdateSender
from infrastructure.postgres.engine import Database
from infrastructure.postgres.live_updates import PostgresLiveUpdates
from tests.support.callers import Address
from tests.support.messages import a_message

PATIENCE = 30
"""Seconds, that only keep a broken test from hanging."""


@contextlib.asynccontextmanager
async def a_publisher(dsn: str, redis_url: str) -> AsyncIterator["LiveUpdatePublisher"]:
    database = Database(dsn, pool_size=2)
    sender = LiveUpdateSender(PostgresLiveUpdates(database), Redis.from_url(redis_url, socket_timeout=0.5))
    try:
        yield LiveUpdatePublisher(sender)
    finally:
        await sender.close()
        await database.close()


@dataclass
class LiveUpdatePublisher:
    """Delivers what a worker would."""

    sender: LiveUpdateSender

    async def publish(
        self, facilitator_id: int, number: int = 12, message_type: MessageType = MessageType.BOOKING_CREATED
    ) -> None:
        """Of the booking with this number."""
        await self.sender.deliver(self.message(facilitator_id, number, message_type))

    def message(
        self, facilitator_id: int, number: int, message_type: MessageType = MessageType.BOOKING_CREATED
    ) -> Message:
        facilitator = {"id": facilitator_id}
        message = a_message(
            message_type, destination=Destination.REALTIME, facilitator=facilitator, booking={"id": number}
        )
        return replace(message, id=MessageId(uuid4()))


def socket_url(address: Address, query: str = "") -> str:
    return f"ws://{address[0]}:{address[1]}/ws/notifications{query}"


def a_socket(address: Address, token: str | None, query: str = "", **options: Any) -> connect:
    """`origin` is sent as it is."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    origin = options.pop("origin", None)
    if origin is not None:
        headers["Origin"] = origin
    return connect(socket_url(address, query), additional_headers=headers, compression=None, **options)


async def next_update(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        entry: dict[str, Any] = json.loads(await socket.recv())
    return entry


async def closed_with(socket: ClientConnection, seconds: float = PATIENCE) -> int | None:
    """The code that the server closes with; earlier messages are dropped. Fails when it takes longer."""
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


@dataclass
class Stream:
    """Server-Sent Events, read as the standard says."""

    response: httpx.Response
    last_id: str | None = None
    comments: int = 0
    _lines: AsyncIterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._lines = self.response.aiter_lines()

    async def event(self) -> tuple[str, dict[str, Any]]:
        """The next event's name and data. Raises StopAsyncIteration at the end of the stream."""
        name, data = "message", ""
        async with asyncio.timeout(PATIENCE):
            while True:
                line = await anext(self._lines)
                if line.startswith(":"):
                    self.comments += 1
                elif not line and data:
                    return name, json.loads(data)
                key, _, value = line.partition(": ")
                match key:
                    case "id":
                        self.last_id = value
                    case "event":
                        name = value
                    case "data":
                        data += value

    async def ended(self, seconds: float = PATIENCE) -> bool:
        async with asyncio.timeout(seconds):
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    await self.event()
        return True


@contextlib.asynccontextmanager
async def a_stream(address: Address, token: str, last_id: int | str | None = None) -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {token}"}
    if last_id is not None:
        headers["Last-Event-ID"] = str(last_id)
    url = f"http://{address[0]}:{address[1]}/facilitator/feed"
    async with httpx.AsyncClient(timeout=PATIENCE) as client, client.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Stream(response)
