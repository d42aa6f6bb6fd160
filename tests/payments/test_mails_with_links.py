"""Mails with a payment link, which is read from PostgreSQL at send time."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from application.notifications.payment_links import MailWithPaymentLinks
from domain.outbox import Delivered, Destination, Message, MessageId, MessageType, Outcome
from infrastructure.postgres.payments.queries import PostgresPaymentQueries
from tests.support.app_harness import AppHarness, Sold
from tests.support.appointment_harness import AppointmentHarness
from tests.support.machine_clock import SystemClock
from tests.support.rows import stored_row

TRIES = 16


class Pigeonhole:
    """Takes every mail and keeps where it says to pay."""

    def __init__(self) -> None:
        self.links: list[str | None] = []

    async def deliver(self, message: Message) -> Outcome:
        self.links.append(message.payload.get("payment_url"))
        return Delivered()


def sender(harness: AppHarness, mail: Pigeonhole) -> MailWithPaymentLinks:
    reader = PostgresPaymentQueries(harness.worker.database)
    return MailWithPaymentLinks(mail, reader, SystemClock(), TRIES, patience=timedelta(0))


async def the_mail(
    harness: AppHarness, sold: Sold, *, message_type: MessageType = MessageType.BOOKING_CREATED
) -> Message:
    """The latest mail to the client of the booking."""
    row = await stored_row(
        harness.records,
        """SELECT id, lane, fact, snapshot, occurred_at FROM outbox
           WHERE destination = 'email' AND fact = $2
             AND lane IN ('booking:' || $1, 'coaching:' || $1 || ':client') ORDER BY seq DESC""",
        *(str(sold.reserved.id), message_type),
    )
    ordering_key, payload = row["lane"], json.loads(row["snapshot"])
    return Message(
        MessageId(row["id"]), Destination.EMAIL, ordering_key, message_type, payload, 1, row["occurred_at"], None
    )


@pytest.fixture(params=["place", "session"])
async def sell(harness: AppHarness, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Books with a price."""
    appointment_harness, person = AppointmentHarness(harness), await harness.person()
    event, coach = await harness.event(), await appointment_harness.coach()

    async def sell() -> Sold:
        sold: Sold
        sold = (
            await harness.book(person, event)
            if request.param == "place"
            else await appointment_harness.book(person, coach)
        )
        assert sold.payment_url is not None
        return sold

    return sell


async def test_mail_contains_the_payment_link(harness: AppHarness, sell: Callable[..., Any]) -> None:
    sold, mail = await sell(), Pigeonhole()
    assert await sender(harness, mail).deliver(await the_mail(harness, sold)) == Delivered()
    assert mail.links == [sold.payment_url]


async def test_paid_or_expired_booking_has_no_payment_link(harness: AppHarness, sell: Callable[..., Any]) -> None:
    sold, mail = await sell(), Pigeonhole()
    message, carry = await the_mail(harness, sold), sender(harness, mail)
    await harness.settle("till", harness.received(sold))
    assert await carry.deliver(message) == Delivered()
    receipt = await the_mail(harness, sold, message_type=MessageType.PAYMENT_COMPLETED)
    assert await carry.deliver(receipt) == Delivered()
    assert mail.links == [None, None]
