"""Messages of a facilitator to the participants of an event."""

from datetime import timedelta
from typing import ClassVar

from application.idempotency import recorded_result
from application.outbox.ports import WakeUps
from application.ports import Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.errors import Errors, TooManyRequests
from domain.events import EventForbidden, EventId, EventNotFound
from domain.participant_messages import NoParticipants, ParticipantMessage

MESSAGES_PER_EVENT = Limit("participant-messages-event", times=5, per=timedelta(days=1))
MESSAGES_PER_SENDER = Limit("participant-messages-sender", times=50, per=timedelta(days=1))


@use_case
class WriteToParticipants:
    """Sends a message to all confirmed participants of an event of the calling facilitator, in separate mails.

    - Confirmed bookings are those that are free, paid online, or payable on site; not those that are held for a
      payment.
    - An event that has ended still has its participants; a cancelled one has none.
    - No participant sees the address of another. A reply is addressed to the facilitator.
    - An event has 5 messages a day, a sender 50.
    """

    raises: ClassVar[Errors] = (EventNotFound, EventForbidden, NoParticipants, TooManyRequests)

    open_work: OpenUnitOfWork
    limiter: RateLimiter
    wake_ups: WakeUps

    async def __call__(self, user: User, event_id: EventId, *, subject: str, text: str) -> int:
        """Returns the number of recipients. Raises `NoParticipants`."""
        if (made := recorded_result()) is not None:
            return int(made)
        message = ParticipantMessage.entered(subject, text)
        async with self.open_work() as work:
            (await work.events.get(event_id)).require_manager(user)
        await self.limiter.take(MESSAGES_PER_SENDER, str(user.id))
        try:
            await self.limiter.take(MESSAGES_PER_EVENT, str(event_id))
            try:
                recipients = await self._write(user, event_id, message)
            except NoParticipants:
                await self.limiter.give_back(MESSAGES_PER_EVENT, str(event_id))
                raise
        except (NoParticipants, TooManyRequests):
            await self.limiter.give_back(MESSAGES_PER_SENDER, str(user.id))
            raise
        self.wake_ups.notify()
        return recipients

    async def _write(self, user: User, event_id: EventId, message: ParticipantMessage) -> int:
        async with self.open_work() as work:
            (await work.events.get(event_id)).require_manager(user)
            recipients = await work.messages.enqueue_for_participants(event_id, message)
            if not recipients:
                raise NoParticipants
            await work.commit(made=recipients)
        return recipients
