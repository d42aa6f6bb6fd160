"""Mails that ask for a payment say where to pay: the link is made after the booking, and its gateway may be away."""

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
from tests.support.app_harness import House, Sold, order_of, ref_of
from tests.support.appointment_harness import Practice
from tests.support.rows import stored_row

TRIES = 16


class Pigeonhole:
    """Takes every mail and keeps where it says to pay."""

    def __init__(self) -> None:
        self.links: list[str | None] = []

    async def deliver(self, message: Message) -> Outcome:
        self.links.append(message.payload.get("payment_url"))
        return Delivered()


def sender(house: House, mail: Pigeonhole, *, tries: int = TRIES, seconds: float = 0) -> MailWithPaymentLinks:
    reader = PostgresPaymentQueries(house.worker.database)
    return MailWithPaymentLinks(mail, reader, SystemClock(), tries, patience=timedelta(seconds=seconds))


async def the_mail(
    house: House, sold: Sold, *, message_type: MessageType = MessageType.BOOKING_CREATED, attempt: int = 1
) -> Message:
    """That is owed to who booked."""
    row = await stored_row(
        house.records,
        """SELECT id, lane, fact, snapshot, occurred_at FROM outbox
           WHERE destination = 'email' AND fact = $2
             AND lane IN ('booking:' || $1, 'coaching:' || $1 || ':client') ORDER BY seq DESC""",
        *(str(sold.placed.id), message_type),
    )
    ordering_key, payload = row["lane"], json.loads(row["snapshot"])
    return Message(
        MessageId(row["id"]), Destination.EMAIL, ordering_key, message_type, payload, attempt, row["occurred_at"], None
    )


@pytest.fixture(params=["place", "session"])
async def sell(house: House, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Books something that costs something; with the gateway away it has no link yet."""
    practice, person = Practice(house), await house.person()
    event, coach = await house.event(), await practice.coach()

    async def sell(*, away: bool = False) -> Sold:
        house.till.away = away
        sold: Sold
        sold = await house.book(person, event) if request.param == "place" else await practice.book(person, coach)
        house.till.away = False
        assert (sold.payment_url is None) is away
        return sold

    return sell


async def link_is_made(house: House, sold: Sold) -> None:
    assert await house.worker.open_checkout.for_payable(ref_of(sold))


async def test_the_mail_has_the_link(house: House, sell: Callable[..., Any]) -> None:
    sold, mail = await sell(), Pigeonhole()
    assert await sender(house, mail).deliver(await the_mail(house, sold)) == Delivered()
    assert mail.links == [sold.payment_url]


@pytest.mark.parametrize(("seconds", "tries", "waits"), [(30, TRIES, True), (0, 1, False)], ids=["", "twin"])
async def test_a_mail_that_is_faster_than_the_gateway_waits_for_the_link(
    house: House, sell: Callable[..., Any], seconds: float, tries: int, waits: bool
) -> None:
    sold, mail = await sell(away=True), Pigeonhole()
    going = asyncio.create_task(sender(house, mail, seconds=seconds, tries=tries).deliver(await the_mail(house, sold)))
    done, _ = await asyncio.wait([going], timeout=0.5 if waits else 30)
    assert bool(done) is not waits
    await link_is_made(house, sold)
    assert await going == Delivered()
    assert mail.links == [f"https://till.example/{order_of(sold)}" if waits else None]


async def test_a_gateway_that_comes_back_in_time_costs_no_link_and_one_that_stays_away_no_mail(
    house: House, sell: Callable[..., Any]
) -> None:
    sold, mail = await sell(away=True), Pigeonhole()
    carry = sender(house, mail)
    for attempt in range(1, AT_MOST):
        outcome = await carry.deliver(await the_mail(house, sold, attempt=attempt))
        assert isinstance(outcome, Failed)
        assert (outcome.permanent, outcome.destination_fault, outcome.status_code) == (False, False, None)
    last = await the_mail(house, sold, attempt=AT_MOST)
    assert await carry.deliver(last) == Delivered()
    await link_is_made(house, sold)
    assert await carry.deliver(last) == Delivered()
    assert mail.links == [None, f"https://till.example/{order_of(sold)}"]


async def test_with_little_time_left_to_pay_the_mail_goes_at_once(house: House, sell: Callable[..., Any]) -> None:
    sold, mail = await sell(away=True), Pigeonhole()
    message = await the_mail(house, sold)
    about = message.payload.get("coaching") or message.payload["booking"]
    about["hold_until"] = (SystemClock().now() + timedelta(minutes=10)).isoformat()
    assert await sender(house, mail).deliver(message) == Delivered()
    assert mail.links == [None]


async def test_what_is_paid_or_given_up_when_the_mail_goes_has_no_link(house: House, sell: Callable[..., Any]) -> None:
    sold, mail = await sell(), Pigeonhole()
    message, carry = await the_mail(house, sold), sender(house, mail)
    await house.settle("till", house.received(sold))
    assert await carry.deliver(message) == Delivered()
    receipt = await the_mail(house, sold, message_type=MessageType.PAYMENT_COMPLETED)
    assert await carry.deliver(receipt) == Delivered()
    assert mail.links == [None, None]


async def test_the_coach_is_not_asked_to_pay(house: House) -> None:
    practice, mail = Practice(house), Pigeonhole()
    sold = await practice.book(await house.person(), await practice.coach())
    message = await the_mail(house, sold)
    message.payload["recipient"] = "coach"
    await sender(house, mail).deliver(message)
    assert mail.links == [None]
