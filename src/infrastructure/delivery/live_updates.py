"""Sender of live updates: records them, and signals them to the API's processes."""

import asyncio
import contextlib
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.accounts import UserId
from domain.outbox import Delivered, Message, Outcome
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.postgres.live_updates import PostgresLiveUpdates

CHANNEL = "convene:feed"

_to_json = msgspec.json.Encoder(decimal_format="number").encode


class LiveUpdateSender:
    """Writes the table first. A lost signal delays an update by a few seconds."""

    def __init__(self, feed: PostgresLiveUpdates, redis: Redis) -> None:
        self._feed = feed
        self._redis = redis
        # Updates of one facilitator are recorded one after the other, because the database would serialise them.
        self._turns = asyncio.Semaphore(2)

    async def deliver(self, message: Message) -> Outcome:
        """Raises `Unavailable`."""
        # The same JSON as for other destinations: amounts are numbers, times are text.
        payload: dict[str, Any] = msgspec.json.decode(_to_json(to_payload(message)))
        facilitator_id = UserId(payload["facilitator_id"])
        async with self._turns:
            await self._feed.record(facilitator_id, message, payload)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.publish(CHANNEL, str(facilitator_id))
        return Delivered()

    async def close(self) -> None:
        await self._redis.aclose()
