"""Money given back: promised with the cancellation, paid by the worker, never twice and never forgotten."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import event as sqlalchemy_events

from application.bookings.reservation import NewBooking
from domain.bookings import BookingAlreadyCancelled
from domain.errors import Conflict
from domain.events import EventId
from domain.money import Money
from tests.support.app_harness import AppHarness, order_of, ref_of
from tests.support.process_harness import LONG_RUN
from tests.support.rows import stored_row

USUAL = ((168, 100), (24, 50))


@pytest.mark.parametrize(
    ("starts_in", "back"),
    [(timedelta(days=8), Decimal("25.05")), (timedelta(days=2), Decimal("12.53")), (timedelta(hours=3), None)],
)
async def test_cancellation_refunds_what_its_preview_showed(
    harness: AppHarness, starts_in: timedelta, back: Decimal | None
) -> None:
    person = await harness.person()
    new = await harness.paid(person, await harness.event(price="25.05", policy=USUAL, starts_in=starts_in))

    preview = await harness.worker.money.show_cancellation(person, new.reserved.id)
    refund = await harness.cancel(person, new)
    await harness.until_dry()

    assert preview.refund == Money(back or Decimal(0), "INR")
    assert (refund.amount.amount if refund else None) == back
    assert await harness.refunds(new) == ([(back, "processed", "booking_cancelled")] if back else [])
    assert await harness.booking(new) == ("cancelled", "refunded" if back else "completed")
    message_types = [fact for fact, _ in await harness.messages(new)]
    assert message_types == [
        "booking_created",
        "payment_completed",
        "booking_cancelled",
        *(["booking_refunded"] if back else []),
    ]
    assert harness.local_gateway.orders[order_of(new)].refunded == int((back or 0) * 100)


async def test_facilitator_cancels_a_participant_with_a_full_refund(harness: AppHarness) -> None:
    """Cancelled by the person three hours before the start, this booking would give nothing back."""
    person = await harness.person()
    event_id = await harness.event(price="25.05", policy=((168, 100),), starts_in=timedelta(hours=3), capacity=1)
    new = await harness.paid(person, event_id)

    refund = await harness.cancel_participant(harness.facilitator, new)
    await harness.until_dry()

    assert refund.amount == Money(Decimal("25.05"), "INR")
    assert await harness.refunds(new) == [(Decimal("25.05"), "processed", "by_organiser")]
    assert await harness.booking(new) == ("cancelled", "refunded")
    facts = [("booking_created", None), ("payment_completed", None), ("booking_cancelled", "by_organiser")]
    for destination in ("crm", "email"):
        assert await harness.messages(new, destination) == [*facts, ("booking_refunded", "by_organiser")]
    stored = await stored_row(harness.records, "SELECT * FROM bookings WHERE id = $1", new.reserved.id)
    assert (stored["cancelled_by"], stored["cancel_reason"]) == (harness.facilitator.id, "by_organiser")
    await harness.book(await harness.person(), event_id)
    assert await harness.wrongs() == []


async def test_concurrent_cancellation_by_facilitator_and_user_succeeds_once(harness: AppHarness) -> None:
    """The first one decides how much is refunded; the other learns that the booking is cancelled."""
    person = await harness.person()
    new = await harness.paid(person, await harness.event())

    cancels = [harness.cancel_participant(harness.facilitator, new), harness.cancel(person, new)]
    asked = await asyncio.gather(*cancels, return_exceptions=True)
    await harness.until_dry()

    assert sum(isinstance(answer, BookingAlreadyCancelled) for answer in asked) == 1
    assert [amount for amount, _, _ in await harness.refunds(new)] == [Decimal(30)]
    assert await harness.wrongs() == []


async def test_concurrent_cancellations_refund_once(harness: AppHarness) -> None:
    person = await harness.person()
    new = await harness.paid(person, await harness.event())

    asked = await asyncio.gather(*(harness.cancel(person, new) for _ in range(10)), return_exceptions=True)
    await harness.until_dry()

    assert sum(isinstance(answer, BookingAlreadyCancelled) for answer in asked) == 9
    assert await harness.refunds(new) == [(Decimal(30), "processed", "booking_cancelled")]
    assert await harness.wrongs() == []
    with pytest.raises(BookingAlreadyCancelled):
        await harness.worker.money.show_cancellation(person, new.reserved.id)


async def test_webhook_before_our_answer_makes_no_second_refund(harness: AppHarness) -> None:
    person = await harness.person()
    new = await harness.paid(person, await harness.event())
    await harness.cancel(person, new)
    harness.local_gateway.lose_answers = True
    await harness.worker.run()
    harness.local_gateway.lose_answers = False
    (refund_id,) = harness.local_gateway.orders[order_of(new)].refunds

    await harness.take(harness.local_gateway.refund_webhook(order_of(new), refund_id, ours=False))
    await harness.until_dry()

    assert await harness.refunds(new) == [(Decimal(30), "processed", "booking_cancelled")]
    assert await harness.wrongs() == []


async def test_refund_made_at_the_gateway_is_recorded(harness: AppHarness) -> None:
    new = await harness.paid(await harness.person(), await harness.event())
    harness.local_gateway.orders[order_of(new)].refunds["at the desk"] = 1000

    for _ in range(2):
        await harness.take(harness.local_gateway.refund_webhook(order_of(new), "at the desk", ours=False))
    await harness.until_dry()

    assert await harness.refunds(new) == [(Decimal(10), "processed", "at_the_gateway")]
    assert await harness.wrongs() == []
    for destination in ("crm", "email", "realtime"):
        assert (await harness.messages(new, destination))[-2:] == [
            ("payment_completed", None),
            ("booking_refunded", "at_the_gateway"),
        ]
    snapshot = json.loads(await harness.records.fetchval("SELECT snapshot FROM outbox WHERE fact = 'booking_refunded'"))
    assert (snapshot["money"], snapshot["booking"]["payment_status"]) == (
        {"amount": "10.00", "currency": "INR"},
        "refunded",
    )


PAID, UNPAID, ON_THE_SPOT, FREE = (60, 5, 3, 5) if LONG_RUN else (10, 3, 2, 2)


async def a_sold_out_event(harness: AppHarness) -> tuple[EventId, list[list[NewBooking]]]:
    """Its bookings: paid, unpaid, paid offline, free."""
    event = await harness.event(capacity=100)
    paid = [await harness.paid(person, event) for person in await harness.people(PAID)]
    unpaid = [await harness.book(person, event) for person in await harness.people(UNPAID)]
    people = await harness.people(ON_THE_SPOT)
    on_the_spot = [await harness.book(person, event, gateway="offline") for person in people]
    for new in on_the_spot:
        await harness.worker.money.record_offline_payment.by_facilitator(harness.facilitator, ref_of(new))
    await harness.records.execute("UPDATE events SET price = 0 WHERE id = $1", event)
    free = [await harness.book(person, event) for person in await harness.people(FREE)]
    return event, [paid, unpaid, on_the_spot, free]


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_cancelling_an_event_refunds_all_payments(harness: AppHarness, how: str) -> None:
    event, (paid, unpaid, on_the_spot, free) = await a_sold_out_event(harness)

    if how == "cancel":
        answer = await harness.cancel_event(event)
        refunds = PAID + ON_THE_SPOT
        assert (answer.refunds, answer.total) == (refunds, Money(Decimal(refunds * 30), "INR"))
    else:
        await harness.delete_event(event)
    await harness.until_dry()

    async def states(bookings: Sequence[NewBooking]) -> set[tuple[str, str]]:
        return {await harness.booking(new) for new in bookings}

    assert await states(paid) == await states(on_the_spot) == {("cancelled", "refunded")}
    assert await states(unpaid) == {("cancelled", "pending")}
    assert await states(free) == {("cancelled", "not_required")}
    for new in [*paid, *on_the_spot]:
        assert await harness.refunds(new) == [(Decimal(30), "processed", "event_cancelled")]
        assert (await harness.messages(new, "email"))[-2:] == [
            ("booking_cancelled", "event_cancelled"),
            ("booking_refunded", "event_cancelled"),
        ]
    assert {harness.local_gateway.orders[order_of(new)].state for new in unpaid} == {"closed"}
    assert harness.local_gateway.refund_requests == PAID
    assert harness.local_gateway.kept("INR") == 0
    assert await harness.wrongs() == []


async def test_booking_cancelled_with_its_event_is_refunded_once(harness: AppHarness) -> None:
    for _ in range(10 if LONG_RUN else 4):
        event = await harness.event(policy=((0, 50),))
        person = await harness.person()
        new = await harness.paid(person, event)

        outcomes = await asyncio.gather(
            harness.cancel(person, new), harness.cancel_event(event), return_exceptions=True
        )
        await harness.until_dry()

        assert all(not isinstance(outcome, Exception) or isinstance(outcome, Conflict) for outcome in outcomes)
        assert len(await harness.refunds(new)) == 1
    assert await harness.wrongs() == []


async def test_cancelling_an_event_takes_a_fixed_number_of_statements(harness: AppHarness) -> None:
    counted = []
    for number in (1, 25 if LONG_RUN else 6):
        event = await harness.event(capacity=60)
        for person in await harness.people(number):
            await harness.paid(person, event)
        for person in await harness.people(number):
            await harness.book(person, event)
        statements: list[str] = []

        def note(*about: object, seen: list[str] = statements) -> None:
            seen.append(str(about[2]))

        engine = harness.worker.database.engine.sync_engine
        sqlalchemy_events.listen(engine, "before_cursor_execute", note)
        await harness.cancel_event(event)
        sqlalchemy_events.remove(engine, "before_cursor_execute", note)
        counted.append(len(statements))
    assert counted[0] == counted[1] > 5
