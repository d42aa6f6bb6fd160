"""Replay of dead and of delivered messages."""

from dataclasses import replace
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from application.outbox.ports import DeadLetters, Replay, WakeUps
from application.use_cases import use_case
from domain.errors import Errors, Invalid
from domain.outbox import REPLAY_RATE, SENT_AGAIN, Destination, MessageNotDead, MessageNotFound


@use_case
class ReplayMessage:
    """Sends one dead message again.

    - The message keeps its id, so that receivers detect duplicates. Its retry schedule starts again.
    - Only dead messages are accepted.
    """

    raises: ClassVar[Errors] = (MessageNotFound, MessageNotDead)

    dead_letters: DeadLetters
    wake_ups: WakeUps

    async def __call__(self, message_id: UUID) -> None:
        """Raises `MessageNotFound`, `MessageNotDead`."""
        await self.dead_letters.replay(message_id)
        self.wake_ups.notify()


@use_case
class ReplayMessages:
    """Sends messages again, filtered by destination, by time or by both.

    - At least one filter is required, so that a forgotten filter does not replay all messages.
    - A destination that stores each message once (`SENT_AGAIN`), with a time, gets its dead messages and those that
      were delivered since then. The messages keep their ids and their order, and a rate limits them.
    - In all other cases only dead messages are sent again. A repeated call sends nothing twice.
    - More than `most` delivered messages are refused.
    - If no message matches, the result says which destinations and statuses have messages, and since when.
    """

    raises: ClassVar[Errors] = ()

    dead_letters: DeadLetters
    wake_ups: WakeUps
    most: int = 20_000

    async def __call__(
        self, *, destination: Destination | None, since: datetime | None, per_second: int = REPLAY_RATE
    ) -> Replay:
        """Raises `Invalid`."""
        if destination is None and since is None:
            raise Invalid({"destination": "Give a destination, a time (since), or both"})
        if destination in SENT_AGAIN and since is not None:
            replay = await self.dead_letters.replay_since(destination, since, per_second=per_second, most=self.most)
            if replay.messages > self.most:
                raise Invalid({"since": f"More than {self.most} messages match: give a later time"})
        else:
            replay = Replay(await self.dead_letters.replay_all(destination=destination, since=since), 0)
        self.wake_ups.notify()
        return replay if replay.messages else replace(replay, kept=await self.dead_letters.kept())
