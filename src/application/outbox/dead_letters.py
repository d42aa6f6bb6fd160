"""Replay of dead messages."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from application.outbox.ports import DeadLetters, WakeUps
from domain.errors import Errors, Invalid
from domain.outbox import Destination, MessageNotDead, MessageNotFound


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class ReplayMessages:
    """Sends dead messages again, filtered by destination, by time or by both.

    - At least one filter is required, so that a forgotten filter does not replay all messages.
    - Only messages that are still dead are changed, so a repeated call sends nothing twice.
    """

    raises: ClassVar[Errors] = ()

    dead_letters: DeadLetters
    wake_ups: WakeUps

    async def __call__(self, *, destination: Destination | None, since: datetime | None) -> int:
        """Returns the number of messages. Raises `Invalid`."""
        if destination is None and since is None:
            raise Invalid({"destination": "Give a destination, a time (since), or both"})
        count = await self.dead_letters.replay_all(destination=destination, since=since)
        self.wake_ups.notify()
        return count
