"""Whatever a gateway says, however often and in whatever order: the state it ends in, and what people are told."""

import asyncio
from collections import Counter
from decimal import Decimal
from uuid import uuid4

import pytest

from application.bookings.reservation import NewBooking
from application.payments.checkout import CONCURRENT_REQUESTS
from application.payments.settlement import Settled
from domain.events import EventId
from domain.money import Money
from domain.payments import InvalidSignature, PaymentId, PaymentUpdate
from tests.support.app_harness import House, order_of, ref_of
from tests.support.rows import stored_row

PAID = ("confirmed", "completed")
GIVEN_BACK = ("cancelled", "refunded")
FULL_PRICE = Decimal(30)


async def in_state(house: House, state: str, event: EventId) -> NewBooking:
    new = await house.book(await house.person(), event)
    if state == "failed":
        await house.settle("till", house.says(new, PaymentUpdate.FAILED))
    if state in ("completed", "refunded"):
        await house.settle("till", house.received(new))
    if state == "refunded":
        await house.records.execute("UPDATE bookings SET payment_status = 'refunded' WHERE id = $1", new.placed.id)
        await house.records.execute(
            "UPDATE payments SET status = 'refunded', refunded = amount WHERE id = $1", new.placed.payment_id
        )
    return new


@pytest.mark.parametrize(
    ("state", "report", "settled", "then"),
    [
        ("pending", PaymentUpdate.RECEIVED, Settled.RECEIVED, "completed"),
        ("pending", PaymentUpdate.FAILED, Settled.FAILED, "failed"),
        ("pending", PaymentUpdate.OPEN, Settled.OLD_NEWS, "pending"),
        ("failed", PaymentUpdate.RECEIVED, Settled.RECEIVED, "completed"),
        ("failed", PaymentUpdate.FAILED, Settled.OLD_NEWS, "failed"),
        ("failed", PaymentUpdate.OPEN, Settled.OLD_NEWS, "failed"),
        ("completed", PaymentUpdate.RECEIVED, Settled.OLD_NEWS, "completed"),
        ("completed", PaymentUpdate.FAILED, Settled.OLD_NEWS, "completed"),
        ("completed", PaymentUpdate.OPEN, Settled.OLD_NEWS, "completed"),
        ("refunded", PaymentUpdate.RECEIVED, Settled.OLD_NEWS, "refunded"),
        ("refunded", PaymentUpdate.FAILED, Settled.OLD_NEWS, "refunded"),
        ("refunded", PaymentUpdate.OPEN, Settled.OLD_NEWS, "refunded"),
    ],
)
async def test_every_report_in_every_state(
    house: House, state: str, report: PaymentUpdate, settled: Settled, then: str
) -> None:
    new = await in_state(house, state, await house.event())
    told = await house.told(new)

    assert await house.settle("till", house.says(new, report)) is settled

    assert await house.booking(new) == ("confirmed", then)
    assert (await house.payment(new))["status"] == then
    fact = {Settled.RECEIVED: [("payment_completed", None)], Settled.FAILED: [("payment_failed", None)]}
    assert await house.told(new) == told + fact.get(settled, [])


async def test_a_failed_try_frees_no_place(house: House) -> None:
    event = await house.event(capacity=1)
    new = await house.book(await house.person(), event)

    await house.settle("till", house.says(new, PaymentUpdate.FAILED))

    assert await house.records.fetchval("SELECT booked FROM events WHERE id = $1", event) == 1
    assert await house.wrongs() == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount": Money(Decimal("29.99"), "INR")}, "received 29.99 INR, asked for 30.00 INR"),
        ({"amount": Money(Decimal(30), "USD")}, "received 30.00 USD, asked for 30.00 INR"),
        ({"amount": None}, "received None, asked for 30.00 INR"),
        ({"order_id": "another"}, "order another is not {order}"),
        ({"payment_id": PaymentId(uuid4())}, "payment {other} is not {payment}"),
    ],
)
async def test_a_difference_is_kept_once_and_never_confirmed(house: House, change: dict[str, object], why: str) -> None:
    new = await house.book(await house.person(), await house.event())
    report = house.says(new, PaymentUpdate.RECEIVED, **change)

    assert [await house.settle("till", report) for _ in range(3)] == [Settled.DIFFERS] * 3

    names = {"order": order_of(new), "other": change.get("payment_id"), "payment": new.placed.payment_id}
    assert await house.differences() == [why.format(**names)]
    assert await house.booking(new) == ("confirmed", "pending")
    assert (await house.payment(new))["received_at"] is None
    assert await house.told(new) == [("booking_created", None)]


async def test_an_unknown_order_is_kept_for_an_operator(house: House) -> None:
    new = await house.book(await house.person(), await house.event())
    report = house.says(new, PaymentUpdate.RECEIVED, order_id="another", payment_id=PaymentId(uuid4()))

    assert [await house.settle("till", report) for _ in range(2)] == [Settled.UNKNOWN] * 2

    assert await house.differences() == ["no payment of ours has this order"]
    assert await house.booking(new) == ("confirmed", "pending")


async def test_an_order_of_another_gateway_is_not_this_one(house: House) -> None:
    new = await house.book(await house.person(), await house.event())

    assert await house.settle("sandbox", house.received(new)) is Settled.UNKNOWN
    assert await house.booking(new) == ("confirmed", "pending")


async def test_a_report_may_come_where_the_answer_that_names_the_order_was_lost(house: House) -> None:
    house.till.lose_answers = True
    person = await house.person()
    new = await house.book(person, await house.event())
    assert new.payment_url is None
    house.till.lose_answers = False

    assert await house.settle("till", house.received(new)) is Settled.RECEIVED
    await house.cancel(person, new)
    await house.until_dry()

    assert await house.booking(new) == GIVEN_BACK
    assert house.till.orders[order_of(new)].refunded == 3000
    assert await house.wrongs() == []


async def test_money_after_the_hold_takes_a_place_again_where_there_is_one(house: House) -> None:
    new = await house.expired(await house.person(), await house.event(capacity=1))
    assert await house.booking(new) == ("cancelled", "pending")

    assert await house.settle("till", house.received(new)) is Settled.REINSTATED
    await house.until_dry()

    assert await house.booking(new) == PAID
    row = await stored_row(house.records, "SELECT * FROM bookings WHERE id = $1", new.placed.id)
    assert (row["cancelled_at"], row["cancel_reason"], row["hold_until"]) == (None, None, None)
    assert [fact for fact, _ in await house.told(new)] == ["booking_created", "booking_cancelled", "payment_completed"]
    assert await house.wrongs() == []


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        ("place gone", "place_gone"),
        ("started", "paid_after_start"),
        ("another booking", "place_gone"),
        ("event cancelled", "event_cancelled"),
        ("event deleted", "event_cancelled"),
        ("cancelled by the person", "booking_cancelled"),
    ],
)
async def test_money_for_a_place_that_is_no_more_is_given_back_at_once_and_the_person_told_why(
    house: House, meanwhile: str, reason: str
) -> None:
    person, event = await house.person(), await house.event(capacity=1 if meanwhile == "place gone" else 2)
    if meanwhile == "cancelled by the person":
        new = await house.book(person, event)
        await house.cancel(person, new)
    else:
        new = await house.expired(person, event)
    match meanwhile:
        case "place gone":
            await house.book(await house.person(), event)
        case "started":
            await house.records.execute("UPDATE events SET starts_at = now() WHERE id = $1", event)
        case "another booking":
            await house.book(person, event)
        case "event cancelled":
            await house.cancel_event(event)
        case "event deleted":
            await house.delete_event(event)

    assert await house.settle("till", house.received(new)) is Settled.GIVEN_BACK
    await house.until_dry()

    assert await house.booking(new) == GIVEN_BACK
    assert await house.refunds(new) == [(FULL_PRICE, "processed", reason)]
    for destination in ("crm", "email"):
        assert (await house.told(new, destination))[-1] == ("booking_refunded", reason)
    assert house.till.orders[order_of(new)].refunds.keys() == {
        str(refund) for refund in [await house.records.fetchval("SELECT id FROM refunds")]
    }
    assert await house.wrongs() == []


async def test_money_for_a_booking_that_was_paid_on_the_spot_is_given_back(house: House) -> None:
    new = await house.book(await house.person(), await house.event())
    report = house.received(new)
    record = house.worker.record_offline_payment
    assert await record.by_facilitator(house.facilitator, ref_of(new)) == "completed"

    assert await house.settle("till", report) is Settled.GIVEN_BACK
    await house.until_dry()

    assert await house.booking(new) == PAID
    assert await house.refunds(new) == [(FULL_PRICE, "processed", "paid_twice")]
    assert house.till.kept("INR") == 0
    assert await house.wrongs() == []


async def test_paid_on_the_spot_the_checkout_elsewhere_is_closed_and_the_booking_stays_paid(house: House) -> None:
    new = await house.book(await house.person(), await house.event())
    await house.worker.record_offline_payment.by_facilitator(house.facilitator, ref_of(new))
    await house.until_dry()

    assert house.till.orders[order_of(new)].state == "closed"
    assert house.till.pay(order_of(new)) is None
    assert await house.booking(new) == PAID
    assert [fact for fact, _ in await house.told(new)] == ["booking_created", "payment_completed"]


async def test_a_webhook_that_comes_many_times_at_once_has_one_effect(house: House) -> None:
    new = await house.book(await house.person(), await house.event())
    webhook = house.till.pay(order_of(new))
    assert webhook is not None

    await asyncio.gather(*(house.take(webhook) for _ in range(60)))
    await house.until_dry()
    await asyncio.gather(*(house.take(webhook) for _ in range(20)))
    await house.until_dry()

    assert await house.booking(new) == PAID
    for destination in ("crm", "email"):
        assert Counter(fact for fact, _ in await house.told(new, destination))["payment_completed"] == 1
    assert await house.jobs() == [("gateway_event", "delivered")]
    row = await stored_row(house.records, "SELECT * FROM gateway_events")
    assert (row["kind"], row["outcome"], row["settled_at"] is None) == ("order", "received", False)


async def test_callbacks_and_webhooks_at_once_have_one_effect(house: House) -> None:
    """The person's browser, several different webhooks and the look-up report the same money."""
    event = await house.event()
    for _ in range(10):
        new = await house.book(await house.person(), event)
        report = house.received(new)
        for _ in range(4):
            await house.take(house.till.webhook(order_of(new)))
        settles = [worker.settle_payment for worker in house.workers] * 4

        settled = await asyncio.gather(
            *(settle("till", report) for settle in settles), *(worker.run() for worker in house.workers)
        )
        await house.until_dry()

        assert {answer for answer in settled if answer} <= {Settled.RECEIVED, Settled.OLD_NEWS}
        assert [fact for fact, _ in await house.told(new)] == ["booking_created", "payment_completed"]
    assert await house.wrongs() == []


async def test_a_webhook_with_another_signature_is_refused_and_not_kept(house: House) -> None:
    new = await house.book(await house.person(), await house.event())
    body, headers = house.till.webhook(order_of(new), state="paid")
    for forged in [(body + b" ", headers), (body, {}), (body, {"till-signature": "0" * 64})]:
        with pytest.raises(InvalidSignature):
            await house.take(forged)
    assert await house.records.fetchval("SELECT count(*) FROM gateway_events") == 0


async def test_with_all_webhooks_lost_the_look_up_settles_everything(house: House) -> None:
    event = await house.event()
    states = ("paid", "declined", "open")
    bookings = {state: await house.book(await house.person(), event) for state in states}
    for state in ("paid", "declined"):
        house.till.pay(order_of(bookings[state]), state)
    assert await house.worker.reconcile() == 0

    await house.minutes_pass(3)
    asked = await asyncio.gather(*(worker.reconcile() for worker in house.workers))

    assert sum(asked) == 3
    assert [(await house.booking(bookings[state]))[1] for state in states] == ["completed", "failed", "pending"]


async def test_a_checkout_whose_making_was_not_confirmed_is_asked_for_again_and_is_the_same(house: House) -> None:
    house.till.lose_answers = True
    new = await house.book(await house.person(), await house.event())
    house.till.lose_answers = False

    await house.minutes_pass(3)
    await house.worker.reconcile()

    assert list(house.till.orders) == [order_of(new)]
    assert (await house.payment(new))["gateway_reference"] == order_of(new)


async def test_a_gateway_that_is_away_is_asked_again(house: House) -> None:
    new = await house.book(await house.person(), await house.event())
    house.till.pay(order_of(new))
    house.till.away = True
    await house.minutes_pass(3)
    assert await house.worker.reconcile() == 1
    house.till.away = False
    await house.minutes_pass(4)

    assert await house.worker.reconcile() == 1

    assert await house.booking(new) == PAID


async def test_a_gateway_that_is_away_is_left_alone_for_the_round_and_the_others_do_not_wait(house: House) -> None:
    event = await house.event(capacity=12)
    bookings = [await house.book(person, event) for person in await house.people(12)]
    ids = [new.placed.payment_id for new in bookings]
    await house.records.execute("UPDATE payments SET gateway = 'nowhere' WHERE id = ANY($1)", ids[:9])
    for new in bookings[9:]:
        house.till.pay(order_of(new))
    await house.minutes_pass(3)

    await house.worker.reconcile()

    assert [await house.booking(new) for new in bookings[9:]] == [PAID] * 3
    asked = await house.records.fetchval("SELECT count(*) FROM payments WHERE gateway = 'nowhere' AND look_ups > 0")
    assert 0 < asked <= CONCURRENT_REQUESTS
