"""Mails with a payment link: the link is created after the booking, and its gateway may be unavailable."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from application.notifications.payment_links import AT_MOST, MailWithPaymentLinks
from domain.outbox import Delivered, Destination, Failed, Message, MessageId, MessageType, Outcome
from infrastructure.clock import SystemClock
from infrastructure.postgres.payments.queries import PostgresPaymentQueries
from tests.support.app_harness import AppHarness, Sold, order_of, ref_of
from tests.support.appointment_harness import AppointmentHarness
from tests.support.rows import stored_row

TRIES = 16


class Pigeonhole:
    """Takes every mail and keeps where it says to pay."""

    def __init__(self) -> None:
        self.links: list[str | None] = []

    async def deliver(self, message: Message) -> Outcome:
        self.links.append(message.payload.get("payment_url"))
        return Delivered()


def sender(harness: AppHarness, mail: Pigeonhole, *, tries: int = TRIES, seconds: float = 0) -> MailWithPaymentLinks:
    reader = PostgresPaymentQueries(harness.worker.database)
    return MailWithPaymentLinks(mail, reader, SystemClock(), tries, patience=timedelta(seconds=seconds))


async def the_mail(
    harness: AppHarness, sold: Sold, *, message_type: MessageType = MessageType.BOOKING_CREATED, attempt: int = 1
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
        MessageId(row["id"]), Destination.EMAIL, ordering_key, message_type, payload, attempt, row["occurred_at"], None
    )


@pytest.fixture(params=["place", "session"])
async def sell(harness: AppHarness, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Books with a price; while the gateway is unavailable there is no link yet."""
    appointment_harness, person = AppointmentHarness(harness), await harness.person()
    event, coach = await harness.event(), await appointment_harness.coach()

    async def sell(*, unavailable: bool = False) -> Sold:
        harness.local_gateway.unavailable = unavailable
        sold: Sold
        sold = (
            await harness.book(person, event)
            if request.param == "place"
            else await appointment_harness.book(person, coach)
        )
        harness.local_gateway.unavailable = False
        assert (sold.payment_url is None) is unavailable
        return sold

    return sell


async def link_is_made(harness: AppHarness, sold: Sold) -> None:
    assert await harness.worker.money.open_checkout.for_payable(ref_of(sold))


async def test_mail_contains_the_payment_link(harness: AppHarness, sell: Callable[..., Any]) -> None:
    sold, mail = await sell(), Pigeonhole()
    assert await sender(harness, mail).deliver(await the_mail(harness, sold)) == Delivered()
    assert mail.links == [sold.payment_url]


@pytest.mark.parametrize(("seconds", "tries", "waits"), [(30, TRIES, True), (0, 1, False)], ids=["", "twin"])
async def test_mail_waits_for_the_link_of_a_slow_gateway(
    harness: AppHarness, sell: Callable[..., Any], seconds: float, tries: int, waits: bool
) -> None:
    sold, mail = await sell(unavailable=True), Pigeonhole()
    going = asyncio.create_task(
        sender(harness, mail, seconds=seconds, tries=tries).deliver(await the_mail(harness, sold))
    )
    done, _ = await asyncio.wait([going], timeout=0.5 if waits else 30)
    assert bool(done) is not waits
    await link_is_made(harness, sold)
    assert await going == Delivered()
    assert mail.links == [f"https://till.example/{order_of(sold)}" if waits else None]


async def test_mail_is_retried_for_its_link_and_sent_without_it_at_last(
    harness: AppHarness, sell: Callable[..., Any]
) -> None:
    sold, mail = await sell(unavailable=True), Pigeonhole()
    carry = sender(harness, mail)
    for attempt in range(1, AT_MOST):
        outcome = await carry.deliver(await the_mail(harness, sold, attempt=attempt))
        assert isinstance(outcome, Failed)
        assert (outcome.permanent, outcome.destination_fault, outcome.status_code) == (False, False, None)
    last = await the_mail(harness, sold, attempt=AT_MOST)
    assert await carry.deliver(last) == Delivered()
    await link_is_made(harness, sold)
    assert await carry.deliver(last) == Delivered()
    assert mail.links == [None, f"https://till.example/{order_of(sold)}"]


async def test_mail_is_sent_without_link_when_little_time_is_left(
    harness: AppHarness, sell: Callable[..., Any]
) -> None:
    sold, mail = await sell(unavailable=True), Pigeonhole()
    message = await the_mail(harness, sold)
    about = message.payload.get("coaching") or message.payload["booking"]
    about["hold_until"] = (SystemClock().now() + timedelta(minutes=10)).isoformat()
    assert await sender(harness, mail).deliver(message) == Delivered()
    assert mail.links == [None]


async def test_paid_or_expired_booking_has_no_payment_link(harness: AppHarness, sell: Callable[..., Any]) -> None:
    sold, mail = await sell(), Pigeonhole()
    message, carry = await the_mail(harness, sold), sender(harness, mail)
    await harness.settle("till", harness.received(sold))
    assert await carry.deliver(message) == Delivered()
    receipt = await the_mail(harness, sold, message_type=MessageType.PAYMENT_COMPLETED)
    assert await carry.deliver(receipt) == Delivered()
    assert mail.links == [None, None]


async def test_mail_to_the_coach_has_no_payment_link(harness: AppHarness) -> None:
    appointment_harness, mail = AppointmentHarness(harness), Pigeonhole()
    sold = await appointment_harness.book(await harness.person(), await appointment_harness.coach())
    message = await the_mail(harness, sold)
    message.payload["recipient"] = "coach"
    await sender(harness, mail).deliver(message)
    assert mail.links == [None]
