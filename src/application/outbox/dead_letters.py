"""What becomes of messages that could not be delivered."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from application.outbox.ports import DeadLetters, WakeUps
from domain.errors import Invalid
from domain.outbox import Destination


@dataclass(frozen=True, slots=True)
class ReplayMessage:
    """Sends one dead message again.

    - It keeps its id, by which a receiver that has taken it before knows it, and starts its retries afresh.
    - Only a dead message: one that is on its way already, or was delivered, is refused.
    """

    dead_letters: DeadLetters
    wake_ups: WakeUps

    async def __call__(self, message_id: UUID) -> None:
        """Raises `MessageNotFound`, `MessageNotDead`."""
        await self.dead_letters.replay(message_id)
        self.wake_ups.notify()


@dataclass(frozen=True, slots=True)
class ReplayMessages:
    """Sends dead messages again: those of a destination, those of what happened since a time, or those of both.

    - Without either it is refused: nobody replays everything by forgetting a word.
    - What is no longer dead is left alone, so that asking twice sends nothing twice.
    """

    dead_letters: DeadLetters
    wake_ups: WakeUps

    async def __call__(self, *, destination: Destination | None, since: datetime | None) -> int:
        """How many. Raises `Invalid`."""
        if destination is None and since is None:
            raise Invalid({"destination": "Give a destination, a time (since), or both"})
        count = await self.dead_letters.replay_all(destination=destination, since=since)
        self.wake_ups.notify()
        return count
