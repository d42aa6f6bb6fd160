"""Payments of appointments follow the rules of seats: hold, payment, late payment, second payment, refund."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from application.appointments.payment import AppointmentPayment
from application.payments.checkout import CONCURRENT_REQUESTS
from application.payments.settlement import Settled
from domain.accounts import User
from domain.appointments import AppointmentStatus, OnlyCoachRecords, PaymentConfirms
from domain.availability import SlotUnavailable
from domain.money import Money
from domain.payments import NothingToPay, PaymentUpdate
from infrastructure.postgres.appointments.queries import PostgresAppointmentQueries
from tests.support.app_harness import AppHarness, order_of, ref_of
from tests.support.appointment_harness import AppointmentHarness, at
from tests.support.process_harness import LONG_RUN

PENDING = ("pending", "pending")
PAID = ("confirmed", "completed")
GIVEN_BACK = ("cancelled", "refunded")
PRICE = Decimal(30)


@pytest.fixture
def appointment_harness(harness: AppHarness) -> AppointmentHarness:
    return AppointmentHarness(harness)


async def test_appointment_is_pending_until_paid_and_then_confirmed(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    client, coach = await harness.person(), await appointment_harness.coach()
    new = await appointment_harness.book(client, coach)
    assert new.payment_url == f"https://till.example/{order_of(new)}"
    assert await harness.booking(new) == PENDING
    with pytest.raises(PaymentConfirms):
        await appointment_harness.decide(coach, new, AppointmentStatus.CONFIRMED)

    assert await harness.settle("till", harness.received(new)) is Settled.RECEIVED

    assert await harness.booking(new) == PAID
    for to in ("client", "coach"):
        assert await harness.messages(new, "email", to) == [("booking_created", None), ("payment_completed", None)]
    assert await appointment_harness.history(new) == ["created", "paid"]
    await harness.minutes_pass(1000)
    assert await appointment_harness.expire() == 0
    with pytest.raises(NothingToPay):
        await harness.worker.money.open_checkout.for_payable(ref_of(new))


async def test_free_appointment_waits_for_its_coach_only(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    coach = await appointment_harness.coach("0")
    new = await appointment_harness.book(await harness.person(), coach)
    await harness.minutes_pass(100_000)
    assert await appointment_harness.expire() == 0
    assert (new.payment_url, await harness.booking(new)) == (None, ("pending", "not_required"))
    await appointment_harness.decide(coach, new, AppointmentStatus.CONFIRMED)
    assert await harness.booking(new) == ("confirmed", "not_required")


async def test_offline_payment_is_recorded_by_the_coach_and_confirms(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    client, coach = await harness.person(), await appointment_harness.coach()
    new = await appointment_harness.book(client, coach, gateway="offline")
    await harness.minutes_pass(100_000)
    assert await appointment_harness.expire() == 0
    await appointment_harness.decide(coach, new, AppointmentStatus.CONFIRMED)
    assert (new.payment_url, await harness.booking(new)) == (None, ("confirmed", "pending"))
    record = harness.worker.money.record_offline_payment.by_facilitator
    with pytest.raises(OnlyCoachRecords):
        await record(client, ref_of(new))
    for _ in range(2):
        await record(coach, ref_of(new))
    assert await harness.booking(new) == PAID
    await appointment_harness.cancel(coach, new)
    await harness.until_dry()
    assert await harness.refunds(new) == [(PRICE, "processed", "booking_cancelled")]
    assert harness.local_gateway.refund_requests == 0


async def test_unpaid_appointment_expires_once_and_frees_the_time(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    client, coach = await harness.person(), await appointment_harness.coach()
    new = await appointment_harness.book(client, coach)
    await harness.minutes_pass(29)
    assert await appointment_harness.expire() == 0
    with pytest.raises(SlotUnavailable):
        await appointment_harness.book(await harness.person(), coach)
    await harness.minutes_pass(2)

    assert sum(await asyncio.gather(*(appointment_harness.expire(worker) for worker in harness.workers * 2))) == 1
    await harness.until_dry()

    assert await harness.booking(new) == ("cancelled", "pending")
    for to in ("client", "coach"):
        assert (await harness.messages(new, "email", to))[1:] == [("booking_cancelled", "payment_expired")]
    assert harness.local_gateway.pay(order_of(new)) is None
    again = await appointment_harness.book(await harness.person(), coach)
    assert await harness.booking(again) == PENDING


async def test_late_payment_reserves_a_free_time_again(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    new = await appointment_harness.expired(await harness.person(), await appointment_harness.coach())
    assert await harness.settle("till", harness.received(new)) is Settled.REINSTATED
    assert await harness.booking(new) == PAID
    assert await appointment_harness.history(new) == ["created", "cancelled", "reinstated"]
    assert await harness.refunds(new) == []
    assert await harness.wrongs() == []


async def by_another_session(harness: AppHarness, appointment_harness: AppointmentHarness, coach: User) -> None:
    await appointment_harness.book(await harness.person(), coach, 0.5)


async def by_an_event(harness: AppHarness, appointment_harness: AppointmentHarness, coach: User) -> None:
    event = await harness.event()
    await harness.records.execute(
        "UPDATE events SET facilitator_id = $2, starts_at = $3, ends_at = $4 WHERE id = $1",
        event,
        coach.id,
        at(0.5),
        at(2),
    )


async def by_a_calendar(harness: AppHarness, appointment_harness: AppointmentHarness, coach: User) -> None:
    await harness.records.execute(
        """WITH calendar AS (
               INSERT INTO calendar_connections (user_id, provider, status, tokens, expires_at, connected_at)
               VALUES ($1, 'google', 'active', '', now(), now()) RETURNING id
           )
           INSERT INTO calendar_busy SELECT id, $2, $3 FROM calendar""",
        coach.id,
        at(-1),
        at(0.25),
    )


async def by_no_coach(harness: AppHarness, appointment_harness: AppointmentHarness, coach: User) -> None:
    await harness.records.execute("UPDATE users SET role = 'user' WHERE id = $1", coach.id)


async def by_a_coach_who_is_out(harness: AppHarness, appointment_harness: AppointmentHarness, coach: User) -> None:
    await harness.records.execute("UPDATE users SET is_active = false WHERE id = $1", coach.id)


async def by_the_past(harness: AppHarness, appointment_harness: AppointmentHarness, coach: User) -> None:
    await harness.records.execute(
        """UPDATE coaching_bookings SET starts_at = now(), ends_at = now() + interval '1 hour', busy_from = now(),
               busy_until = now() + interval '1 hour'"""
    )


@pytest.mark.parametrize(
    "taken",
    [
        by_another_session,
        by_an_event,
        by_a_calendar,
        by_no_coach,
        by_a_coach_who_is_out,
        by_the_past,
    ],
)
async def test_late_payment_for_a_taken_time_is_refunded_once_and_reported_to_both(
    harness: AppHarness,
    appointment_harness: AppointmentHarness,
    taken: Callable[[AppHarness, AppointmentHarness, User], object],
) -> None:
    coach = await appointment_harness.coach()
    new = await appointment_harness.expired(await harness.person(), coach)
    await taken(harness, appointment_harness, coach)  # type: ignore[misc]
    report = harness.received(new)

    assert [await harness.settle("till", report) for _ in range(3)] == [
        Settled.GIVEN_BACK,
        Settled.NO_CHANGE,
        Settled.NO_CHANGE,
    ]
    await harness.until_dry()

    assert await harness.booking(new) == GIVEN_BACK
    why = "paid_after_start" if taken is by_the_past else "place_gone"
    assert await harness.refunds(new) == [(PRICE, "processed", why)]
    assert harness.local_gateway.kept("INR") == 0
    for to in ("client", "coach"):
        assert (await harness.messages(new, "email", to))[-1] == ("booking_refunded", why)
    assert await harness.wrongs() == []


async def test_payment_for_a_former_coach_is_accepted(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    coach = await appointment_harness.coach()
    new = await appointment_harness.book(await harness.person(), coach)
    await by_no_coach(harness, appointment_harness, coach)
    assert await harness.settle("till", harness.received(new)) is Settled.RECEIVED
    assert await harness.booking(new) == PAID


async def test_declined_payment_can_be_paid_later(harness: AppHarness, appointment_harness: AppointmentHarness) -> None:
    new = await appointment_harness.book(await harness.person(), await appointment_harness.coach())
    for state, then in (("declined", ("pending", "failed")), ("paid", PAID)):
        webhook = harness.local_gateway.pay(order_of(new), state)
        assert webhook is not None
        await harness.take(webhook)
        await harness.until_dry()
        assert await harness.booking(new) == then


async def test_repeated_webhook_has_one_effect(harness: AppHarness, appointment_harness: AppointmentHarness) -> None:
    new = await appointment_harness.book(await harness.person(), await appointment_harness.coach())
    webhook = harness.local_gateway.pay(order_of(new))
    assert webhook is not None
    for _ in range(50 if LONG_RUN else 10):
        await asyncio.gather(*(worker.money.receive_webhook("till", *webhook) for worker in harness.workers * 10))
    await harness.until_dry()
    assert await harness.messages(new) == [("booking_created", None), ("payment_completed", None)]
    assert await harness.jobs() == [("gateway_event", "delivered")]
    assert await appointment_harness.history(new) == ["created", "paid"]


@pytest.mark.parametrize(("by_coach", "back"), [(False, "16.50"), (True, "30.00")])
async def test_refund_depends_on_who_cancels(
    harness: AppHarness, appointment_harness: AppointmentHarness, by_coach: bool, back: str
) -> None:
    client, coach = await harness.person(), await appointment_harness.coach(policy=[(24, 55), (0, 0)])
    new = await appointment_harness.paid(client, coach)
    await appointment_harness.cancel(coach if by_coach else client, new)
    await harness.until_dry()
    assert await harness.booking(new) == GIVEN_BACK
    assert await harness.refunds(new) == [(Decimal(back), "processed", "booking_cancelled")]
    assert harness.local_gateway.kept("INR") == 3000 - Decimal(back) * 100
    assert await harness.wrongs() == []


@pytest.mark.parametrize(("by_coach", "back"), [(False, "9.00"), (True, "30.00")])
async def test_client_who_reschedules_does_not_regain_a_lost_refund(
    harness: AppHarness, appointment_harness: AppointmentHarness, by_coach: bool, back: str
) -> None:
    client, coach = await harness.person(), await appointment_harness.coach(policy=[(48, 100), (0, 30)])
    new = await appointment_harness.paid(client, coach, hour=-9 * 24 + 12)  # tomorrow
    await appointment_harness.move(coach if by_coach else client, new, 0)
    await appointment_harness.cancel(client, new)
    await harness.until_dry()
    assert await harness.refunds(new) == [(Decimal(back), "processed", "booking_cancelled")]


async def test_cancelled_unpaid_appointment_cannot_be_paid(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    client = await harness.person()
    new = await appointment_harness.book(client, await appointment_harness.coach())
    await appointment_harness.cancel(client, new)
    await harness.until_dry()
    assert harness.local_gateway.orders[order_of(new)].state == "closed"


async def test_payment_in_flight_during_a_cancellation_is_refunded(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    client = await harness.person()
    new = await appointment_harness.book(client, await appointment_harness.coach())
    report = harness.received(new)
    await appointment_harness.cancel(client, new)
    assert await harness.settle("till", report) is Settled.GIVEN_BACK
    await harness.until_dry()
    assert await harness.refunds(new) == [(PRICE, "processed", "booking_cancelled")]


async def test_gateway_payment_after_an_offline_payment_is_refunded(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    coach = await appointment_harness.coach()
    new = await appointment_harness.book(await harness.person(), coach)
    await harness.worker.money.record_offline_payment.by_facilitator(coach, ref_of(new))
    assert await harness.settle("till", harness.received(new)) is Settled.GIVEN_BACK
    await harness.until_dry()
    assert await harness.booking(new) == PAID
    assert await harness.refunds(new) == [(PRICE, "processed", "paid_twice")]
    assert harness.local_gateway.kept("INR") == 0


async def test_slow_gateway_does_not_delay_the_answer_for_a_series(
    appointment_harness: AppointmentHarness,
) -> None:
    client, coach = await appointment_harness.harness.person(), await appointment_harness.coach()
    reader = PostgresAppointmentQueries(appointment_harness.harness.worker.database)
    appointment_harness.harness.local_gateway.unavailable = True
    views = [
        await reader.get((await appointment_harness.book(client, coach, hour)).reserved.id)
        for hour in range(CONCURRENT_REQUESTS + 3)
    ]
    appointment_harness.harness.local_gateway.unavailable = False
    open_checkout = appointment_harness.harness.worker.money.open_checkout
    hasty = AppointmentPayment(replace(open_checkout, patience=timedelta(0)), reader)
    assert list(await hasty.open(views))[CONCURRENT_REQUESTS:] == [None] * 3
    patient = await AppointmentPayment(open_checkout, reader).open(views)
    assert len({link for link in patient if link}) == CONCURRENT_REQUESTS + 3


async def test_refund_made_at_the_gateway_is_recorded_with_history(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    new = await appointment_harness.paid(await harness.person(), await appointment_harness.coach())
    harness.local_gateway.orders[order_of(new)].refunds["by hand"] = 1000
    webhook = harness.local_gateway.refund_webhook(order_of(new), "by hand", ours=False)
    await harness.take(webhook)
    await harness.until_dry()
    assert await harness.booking(new) == ("confirmed", "refunded")
    assert await harness.refunds(new) == [(Decimal(10), "processed", "at_the_gateway")]
    assert await appointment_harness.history(new) == ["created", "paid", "refunded"]
    refunded = ("booking_refunded", "at_the_gateway")
    assert (await harness.messages(new))[-1] == refunded
    assert [(await harness.messages(new, "email", to))[-1] for to in ("client", "coach")] == [refunded] * 2
    assert await harness.wrongs() == []


async def test_rescheduled_appointment_keeps_its_payment(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    client, coach = await harness.person(), await appointment_harness.coach()
    paid, unpaid = await appointment_harness.paid(client, coach), await appointment_harness.book(client, coach, 2)
    for new, hour in ((paid, 5), (unpaid, 6)):
        await appointment_harness.move(client, new, hour)
    assert await harness.booking(paid) == PAID
    assert await harness.worker.money.open_checkout.for_user(client, ref_of(unpaid)) == unpaid.payment_url
    assert await harness.settle("till", harness.received(unpaid)) is Settled.RECEIVED
    assert await harness.booking(unpaid) == PAID
    assert await harness.wrongs() == []


async def test_unavailable_gateway_costs_the_link_but_not_the_appointment(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    client, coach = await harness.person(), await appointment_harness.coach()
    harness.local_gateway.unavailable = True
    new = await appointment_harness.book(client, coach)
    assert (new.payment_url, await harness.booking(new)) == (None, PENDING)
    harness.local_gateway.unavailable = False
    url = await harness.worker.money.open_checkout.for_user(client, ref_of(new))
    assert url == f"https://till.example/{order_of(new)}"
    assert await harness.settle("till", harness.received(new)) is Settled.RECEIVED


async def test_appointment_is_confirmed_by_look_up_when_webhooks_are_lost(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    new = await appointment_harness.book(await harness.person(), await appointment_harness.coach())
    harness.local_gateway.pay(order_of(new))
    await harness.minutes_pass(3)
    assert await harness.worker.money.reconcile() == 1
    assert await harness.booking(new) == PAID


@pytest.mark.parametrize(
    ("per_hour", "currency", "minutes", "price"),
    [
        ("99.99", "INR", 20, "33.33"),
        ("10.01", "INR", 30, "5.01"),
        ("500", "JPY", 20, "167"),
        ("333", "JPY", 90, "500"),
        ("10", "KWD", 20, "3.330"),
        ("1.23", "KWD", 30, "0.620"),
        ("0.01", "INR", 20, "0.00"),
        ("1", "JPY", 29, "0"),
    ],
)
async def test_price_per_hour_is_prorated_to_a_payable_amount(
    harness: AppHarness, appointment_harness: AppointmentHarness, per_hour: str, currency: str, minutes: int, price: str
) -> None:
    new = await appointment_harness.book(
        await harness.person(), await appointment_harness.coach(per_hour, currency), minutes=minutes
    )
    assert str(Money(new.reserved.price, new.reserved.currency).amount) == price
    if Decimal(price):
        assert await harness.settle("till", harness.received(new)) is Settled.RECEIVED
        assert harness.local_gateway.kept(currency) == Money(Decimal(price), currency).minor_units
    else:
        assert (new.payment_url, await harness.booking(new)) == (None, ("pending", "not_required"))


async def test_update_with_another_amount_confirms_no_appointment(
    harness: AppHarness, appointment_harness: AppointmentHarness
) -> None:
    new = await appointment_harness.book(await harness.person(), await appointment_harness.coach())
    report = harness.update(new, PaymentUpdate.RECEIVED, amount=Money(Decimal("29.99"), "INR"))
    assert await harness.settle("till", report) is Settled.DIFFERS
    assert await harness.booking(new) == PENDING
    assert await harness.mismatches() == ["received 29.99 INR, asked for 30.00 INR"]
