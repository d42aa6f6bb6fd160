"""Release of messages that wait for the verification of their address."""

from application.outbox.ports import HeldMessages, WakeUps
from application.use_cases import use_case

AT_ONCE = 500


@use_case
class ReleaseHeldMessages:
    """Releases what the verification of an address has left held: a message that a worker was about to hold meanwhile,
    and those beyond the number that the transaction of the verification releases."""

    held: HeldMessages
    wake_ups: WakeUps

    async def __call__(self) -> int:
        """Returns the number of released messages."""
        released = 0
        while True:
            number = await self.held.release(limit=AT_ONCE)
            released += number
            if number < AT_ONCE:
                break
        if released:
            self.wake_ups.notify()
        return released
