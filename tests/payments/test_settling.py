"""Gateway updates, repeated and in any order: the state they end in, and the messages about them."""

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
from domain.payments import PaymentId, PaymentUpdate
from tests.support.app_harness import AppHarness, order_of, ref_of
from tests.support.process_harness import LONG_RUN
from tests.support.rows import stored_row

PAID = ("confirmed", "completed")
GIVEN_BACK = ("cancelled", "refunded")
FULL_PRICE = Decimal(30)


async def in_state(harness: AppHarness, state: str, event: EventId) -> NewBooking:
    new = await harness.book(await harness.person(), event)
    if state == "refunded":
        await harness.settle("till", harness.received(new))
        await harness.records.execute("UPDATE bookings SET payment_status = 'refunded' WHERE id = $1", new.reserved.id)
        await harness.records.execute(
            "UPDATE payments SET status = 'refunded', refunded = amount WHERE id = $1", new.reserved.payment_id
        )
    return new


@pytest.mark.parametrize(
    ("state", "report", "settled", "then"),
    [
        ("pending", PaymentUpdate.RECEIVED, Settled.RECEIVED, "completed"),
        ("pending", PaymentUpdate.FAILED, Settled.FAILED, "failed"),
        ("refunded", PaymentUpdate.RECEIVED, Settled.NO_CHANGE, "refunded"),
    ],
)
async def test_update_is_stored_with_its_messages(
    harness: AppHarness, state: str, report: PaymentUpdate, settled: Settled, then: str
) -> None:
    new = await in_state(harness, state, await harness.event())
    before = await harness.messages(new)

    assert await harness.settle("till", harness.update(new, report)) is settled

    assert await harness.booking(new) == ("confirmed", then)
    assert (await harness.payment(new))["status"] == then
    fact = {Settled.RECEIVED: [("payment_completed", None)], Settled.FAILED: [("payment_failed", None)]}
    assert await harness.messages(new) == before + fact.get(settled, [])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount": Money(Decimal("29.99"), "INR")}, "received 29.99 INR, asked for 30.00 INR"),
        ({"payment_id": PaymentId(uuid4())}, "payment {other} is not {payment}"),
    ],
)
async def test_mismatch_is_recorded_once_and_not_confirmed(
    harness: AppHarness, change: dict[str, object], why: str
) -> None:
    new = await harness.book(await harness.person(), await harness.event())
    report = harness.update(new, PaymentUpdate.RECEIVED, **change)

    assert [await harness.settle("till", report) for _ in range(3)] == [Settled.DIFFERS] * 3

    names = {"order": order_of(new), "other": change.get("payment_id"), "payment": new.reserved.payment_id}
    assert await harness.mismatches() == [why.format(**names)]
    assert await harness.booking(new) == ("confirmed", "pending")
    assert (await harness.payment(new))["received_at"] is None
    assert await harness.messages(new) == [("booking_created", None)]


async def test_update_for_a_checkout_with_a_lost_answer_is_accepted(harness: AppHarness) -> None:
    harness.local_gateway.lose_answers = True
    person = await harness.person()
    new = await harness.book(person, await harness.event())
    assert new.payment_url is None
    harness.local_gateway.lose_answers = False

    assert await harness.settle("till", harness.received(new)) is Settled.RECEIVED
    await harness.cancel(person, new)
    await harness.until_dry()

    assert await harness.booking(new) == GIVEN_BACK
    assert harness.local_gateway.orders[order_of(new)].refunded == 3000
    assert await harness.wrongs() == []


async def test_payment_after_hold_expiry_reserves_a_free_seat_again(harness: AppHarness) -> None:
    new = await harness.expired(await harness.person(), await harness.event(capacity=1))
    assert await harness.booking(new) == ("cancelled", "pending")

    assert await harness.settle("till", harness.received(new)) is Settled.REINSTATED
    await harness.until_dry()

    assert await harness.booking(new) == PAID
    row = await stored_row(harness.records, "SELECT * FROM bookings WHERE id = $1", new.reserved.id)
    assert (row["cancelled_at"], row["cancel_reason"], row["hold_until"]) == (None, None, None)
    assert [fact for fact, _ in await harness.messages(new)] == [
        "booking_created",
        "booking_cancelled",
        "payment_completed",
    ]
    assert await harness.wrongs() == []


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        ("place gone", "place_gone"),
        ("event deleted", "event_cancelled"),
    ],
)
async def test_payment_without_a_free_seat_is_refunded_with_a_reason(
    harness: AppHarness, meanwhile: str, reason: str
) -> None:
    person, event = await harness.person(), await harness.event(capacity=1 if meanwhile == "place gone" else 2)
    new = await harness.expired(person, event)
    match meanwhile:
        case "place gone":
            await harness.book(await harness.person(), event)
        case "event deleted":
            await harness.delete_event(event)

    assert await harness.settle("till", harness.received(new)) is Settled.GIVEN_BACK
    await harness.until_dry()

    assert await harness.booking(new) == GIVEN_BACK
    assert await harness.refunds(new) == [(FULL_PRICE, "processed", reason)]
    for destination in ("crm", "email"):
        assert (await harness.messages(new, destination))[-1] == ("booking_refunded", reason)
    assert harness.local_gateway.orders[order_of(new)].refunds.keys() == {
        str(refund) for refund in [await harness.records.fetchval("SELECT id FROM refunds")]
    }
    assert await harness.wrongs() == []


async def test_gateway_payment_after_an_offline_payment_is_refunded(harness: AppHarness) -> None:
    new = await harness.book(await harness.person(), await harness.event())
    report = harness.received(new)
    record = harness.worker.money.record_offline_payment
    assert await record.by_facilitator(harness.facilitator, ref_of(new)) == "completed"

    assert await harness.settle("till", report) is Settled.GIVEN_BACK
    await harness.until_dry()

    assert await harness.booking(new) == PAID
    assert await harness.refunds(new) == [(FULL_PRICE, "processed", "paid_twice")]
    assert harness.local_gateway.kept("INR") == 0
    assert await harness.wrongs() == []


async def test_concurrent_copies_of_a_webhook_have_one_effect(harness: AppHarness) -> None:
    new = await harness.book(await harness.person(), await harness.event())
    webhook = harness.local_gateway.pay(order_of(new))
    assert webhook is not None

    await asyncio.gather(*(harness.take(webhook) for _ in range(60 if LONG_RUN else 20)))
    await harness.until_dry()
    await asyncio.gather(*(harness.take(webhook) for _ in range(20)))
    await harness.until_dry()

    assert await harness.booking(new) == PAID
    for destination in ("crm", "email"):
        assert Counter(fact for fact, _ in await harness.messages(new, destination))["payment_completed"] == 1
    assert await harness.jobs() == [("gateway_event", "delivered")]
    row = await stored_row(harness.records, "SELECT * FROM gateway_events")
    assert (row["kind"], row["outcome"], row["settled_at"] is None) == ("order", "received", False)


async def test_concurrent_callbacks_and_webhooks_have_one_effect(harness: AppHarness) -> None:
    """The person's browser, several different webhooks and the look-up report the same money."""
    event = await harness.event()
    for _ in range(10 if LONG_RUN else 4):
        new = await harness.book(await harness.person(), event)
        report = harness.received(new)
        for _ in range(4):
            await harness.take(harness.local_gateway.webhook(order_of(new)))
        settles = [worker.money.settle_payment for worker in harness.workers] * 4

        settled = await asyncio.gather(
            *(settle("till", report) for settle in settles), *(worker.run() for worker in harness.workers)
        )
        await harness.until_dry()

        assert {answer for answer in settled if answer} <= {Settled.RECEIVED, Settled.NO_CHANGE}
        assert [fact for fact, _ in await harness.messages(new)] == ["booking_created", "payment_completed"]
    assert await harness.wrongs() == []


async def test_with_all_webhooks_lost_look_ups_settle_everything(harness: AppHarness) -> None:
    event = await harness.event()
    states = ("paid", "declined", "open")
    bookings = {state: await harness.book(await harness.person(), event) for state in states}
    for state in ("paid", "declined"):
        harness.local_gateway.pay(order_of(bookings[state]), state)
    assert await harness.worker.money.reconcile() == 0

    await harness.minutes_pass(3)
    asked = await asyncio.gather(*(worker.money.reconcile() for worker in harness.workers))

    assert sum(asked) == 3
    assert [(await harness.booking(bookings[state]))[1] for state in states] == ["completed", "failed", "pending"]


async def test_unavailable_gateway_does_not_delay_look_ups_at_others(
    harness: AppHarness,
) -> None:
    event = await harness.event(capacity=12)
    bookings = [await harness.book(person, event) for person in await harness.people(12)]
    ids = [new.reserved.payment_id for new in bookings]
    await harness.records.execute("UPDATE payments SET gateway = 'nowhere' WHERE id = ANY($1)", ids[:9])
    for new in bookings[9:]:
        harness.local_gateway.pay(order_of(new))
    await harness.minutes_pass(3)

    await harness.worker.money.reconcile()

    assert [await harness.booking(new) for new in bookings[9:]] == [PAID] * 3
    asked = await harness.records.fetchval("SELECT count(*) FROM payments WHERE gateway = 'nowhere' AND look_ups > 0")
    assert 0 < asked <= CONCURRENT_REQUESTS
