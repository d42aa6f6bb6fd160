"""Payment links in mails about bookings that are held for a payment."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from application.outbox.ports import Sender
from application.payments.ports.records import PaymentQueries
from application.ports import Clock
from application.use_cases import use_case
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef, PayableRef
from domain.outbox import Failed, Message, MessageType, Outcome
from domain.payments import UNPAID

AT_MOST = 3


@use_case
class MailWithPaymentLinks:
    """Sender of e-mails that adds the payment link to those that request a payment. The gateway creates the link after
    the booking, so it is looked up at send time.

    - The first mail about a booking waits up to `patience` for a link that is being created. Without a link it is
      retried twice by the schedule of mails (after seconds, after minutes), and then sent without one: a short outage
      of the gateway delays the mail, a long one costs the link. `tries` is the maximum number of attempts of a mail.
    - The mail is not delayed if less than `enough` time is left to pay.
    - A booking that was paid or cancelled meanwhile has no link. Later mails have the link that exists at send time.
    - The mail about a new series has the link of each session.
    """

    mail: Sender
    payments: PaymentQueries
    clock: Clock
    tries: int
    patience: timedelta = timedelta(seconds=3)
    enough: timedelta = timedelta(minutes=15)

    async def deliver(self, message: Message) -> Outcome:
        held = _held(message.payload)
        if held is None:
            return await self.mail.deliver(message)
        payable, until = held
        is_first = message.message_type is MessageType.BOOKING_CREATED
        give_up_at = self.clock.now() + (self.patience if is_first else timedelta(0))
        series: list[PayableRef] = [
            AppointmentRef(AppointmentId(UUID(each["id"]))) for each in message.payload.get("series", ())
        ]
        links = {each: await self._link(each, give_up_at) for each in series or [payable]}
        is_missing = any(is_open and url is None for is_open, url in links.values())
        if is_first and is_missing and self._can_wait(message, until):
            return Failed("its payment link is not made yet")
        urls = {str(each.id): url for each, (_, url) in links.items() if url is not None}
        found = {"payment_urls": urls} if series else {"payment_url": links[payable][1]}
        return await self.mail.deliver(replace(message, payload=message.payload | found))

    def _can_wait(self, message: Message, until: datetime) -> bool:
        return message.attempt < min(AT_MOST, self.tries) and until - self.clock.now() > self.enough

    async def _link(self, payable: PayableRef, until: datetime) -> tuple[bool, str | None]:
        """Whether there is something to pay, and the address of the checkout."""
        pause = 0.02
        while True:
            found = await self.payments.open_request(payable)
            if found is None:
                return False, None
            if found.url is not None or self.clock.now() >= until:
                return True, found.url
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)


def _held(payload: dict[str, Any]) -> tuple[PayableRef, datetime] | None:
    """The booking that the recipient has to pay, and the end of its hold; None for every other mail."""
    about = payload.get("coaching") or payload.get("booking")
    if about is None or payload.get("recipient") in {"coach", "facilitator"}:
        return None
    until = about.get("hold_until")
    if until is None or about["payment_status"] not in UNPAID or about["status"] == "cancelled":
        return None
    end = datetime.fromisoformat(until)
    if "coaching" in payload:
        return AppointmentRef(AppointmentId(UUID(about["id"]))), end
    return BookingRef(BookingId(about["id"])), end
