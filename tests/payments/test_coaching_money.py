"""The money of a coach's time goes the same way as that of a place: held, paid, late, twice, given back."""

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
from tests.support.app_harness import House, order_of, ref_of
from tests.support.appointment_harness import Practice, at
from tests.support.process_harness import LONG_RUN

PENDING = ("pending", "pending")
PAID = ("confirmed", "completed")
GIVEN_BACK = ("cancelled", "refunded")
PRICE = Decimal(30)


@pytest.fixture
def practice(house: House) -> Practice:
    return Practice(house)


async def test_a_session_is_pending_until_it_is_paid_and_then_confirmed(house: House, practice: Practice) -> None:
    client, coach = await house.person(), await practice.coach()
    new = await practice.book(client, coach)
    assert new.payment_url == f"https://till.example/{order_of(new)}"
    assert await house.booking(new) == PENDING
    with pytest.raises(PaymentConfirms):
        await practice.decide(coach, new, AppointmentStatus.CONFIRMED)

    assert await house.settle("till", house.received(new)) is Settled.RECEIVED

    assert await house.booking(new) == PAID
    for to in ("client", "coach"):
        assert await house.told(new, "email", to) == [("booking_created", None), ("payment_completed", None)]
    assert await practice.history(new) == ["created", "paid"]
    await house.minutes_pass(1000)
    assert await practice.expire() == 0
    with pytest.raises(NothingToPay):
        await house.worker.open_checkout.for_payable(ref_of(new))


async def test_a_free_session_waits_for_its_coach_alone(house: House, practice: Practice) -> None:
    coach = await practice.coach("0")
    new = await practice.book(await house.person(), coach)
    await house.minutes_pass(100_000)
    assert await practice.expire() == 0
    assert (new.payment_url, await house.booking(new)) == (None, ("pending", "not_required"))
    await practice.decide(coach, new, AppointmentStatus.CONFIRMED)
    assert await house.booking(new) == ("confirmed", "not_required")


async def test_what_is_paid_on_the_spot_is_confirmed_and_recorded_by_the_coach(
    house: House, practice: Practice
) -> None:
    client, coach = await house.person(), await practice.coach()
    new = await practice.book(client, coach, gateway="offline")
    await house.minutes_pass(100_000)
    assert await practice.expire() == 0
    await practice.decide(coach, new, AppointmentStatus.CONFIRMED)
    assert (new.payment_url, await house.booking(new)) == (None, ("confirmed", "pending"))
    record = house.worker.record_offline_payment.by_facilitator
    with pytest.raises(OnlyCoachRecords):
        await record(client, ref_of(new))
    for _ in range(2):
        await record(coach, ref_of(new))
    assert await house.booking(new) == PAID
    await practice.cancel(coach, new)
    await house.until_dry()
    assert await house.refunds(new) == [(PRICE, "processed", "booking_cancelled")]
    assert house.till.asked_for_refunds == 0


async def test_unpaid_time_is_given_up_once_and_is_free_for_the_next_client(house: House, practice: Practice) -> None:
    client, coach = await house.person(), await practice.coach()
    new = await practice.book(client, coach)
    await house.minutes_pass(29)
    assert await practice.expire() == 0
    with pytest.raises(SlotUnavailable):
        await practice.book(await house.person(), coach)
    await house.minutes_pass(2)

    assert sum(await asyncio.gather(*(practice.expire(worker) for worker in house.workers * 2))) == 1
    await house.until_dry()

    assert await house.booking(new) == ("cancelled", "pending")
    for to in ("client", "coach"):
        assert (await house.told(new, "email", to))[1:] == [("booking_cancelled", "payment_expired")]
    assert house.till.pay(order_of(new)) is None
    again = await practice.book(await house.person(), coach)
    assert await house.booking(again) == PENDING


async def test_a_late_payment_has_its_time_again_if_that_is_still_free(house: House, practice: Practice) -> None:
    new = await practice.expired(await house.person(), await practice.coach())
    assert await house.settle("till", house.received(new)) is Settled.REINSTATED
    assert await house.booking(new) == PAID
    assert await practice.history(new) == ["created", "cancelled", "reinstated"]
    assert await house.refunds(new) == []
    assert await house.wrongs() == []


async def by_another_session(house: House, practice: Practice, coach: User) -> None:
    await practice.book(await house.person(), coach, 0.5)


async def by_an_event(house: House, practice: Practice, coach: User) -> None:
    event = await house.event()
    await house.records.execute(
        "UPDATE events SET facilitator_id = $2, starts_at = $3, ends_at = $4 WHERE id = $1",
        event,
        coach.id,
        at(0.5),
        at(2),
    )


async def by_a_calendar(house: House, practice: Practice, coach: User) -> None:
    await house.records.execute(
        """WITH calendar AS (
               INSERT INTO calendar_connections (user_id, provider, status, tokens, expires_at, connected_at)
               VALUES ($1, 'google', 'active', '', now(), now()) RETURNING id
           )
           INSERT INTO calendar_busy SELECT id, $2, $3 FROM calendar""",
        coach.id,
        at(-1),
        at(0.25),
    )


async def by_no_coach(house: House, practice: Practice, coach: User) -> None:
    await house.records.execute("UPDATE users SET role = 'user' WHERE id = $1", coach.id)


async def by_a_coach_who_is_out(house: House, practice: Practice, coach: User) -> None:
    await house.records.execute("UPDATE users SET is_active = false WHERE id = $1", coach.id)


async def by_the_past(house: House, practice: Practice, coach: User) -> None:
    await house.records.execute(
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
async def test_a_late_payment_whose_time_is_taken_is_given_back_once_and_both_are_told(
    house: House, practice: Practice, taken: Callable[[House, Practice, User], object]
) -> None:
    coach = await practice.coach()
    new = await practice.expired(await house.person(), coach)
    await taken(house, practice, coach)  # type: ignore[misc]
    report = house.received(new)

    assert [await house.settle("till", report) for _ in range(3)] == [
        Settled.GIVEN_BACK,
        Settled.OLD_NEWS,
        Settled.OLD_NEWS,
    ]
    await house.until_dry()

    assert await house.booking(new) == GIVEN_BACK
    why = "paid_after_start" if taken is by_the_past else "place_gone"
    assert await house.refunds(new) == [(PRICE, "processed", why)]
    assert house.till.kept("INR") == 0
    for to in ("client", "coach"):
        assert (await house.told(new, "email", to))[-1] == ("booking_refunded", why)
    assert await house.wrongs() == []


async def test_money_is_taken_for_the_time_of_somebody_who_is_no_coach_any_more(
    house: House, practice: Practice
) -> None:
    coach = await practice.coach()
    new = await practice.book(await house.person(), coach)
    await by_no_coach(house, practice, coach)
    assert await house.settle("till", house.received(new)) is Settled.RECEIVED
    assert await house.booking(new) == PAID


async def test_declined_and_then_paid(house: House, practice: Practice) -> None:
    new = await practice.book(await house.person(), await practice.coach())
    for state, then in (("declined", ("pending", "failed")), ("paid", PAID)):
        webhook = house.till.pay(order_of(new), state)
        assert webhook is not None
        await house.take(webhook)
        await house.until_dry()
        assert await house.booking(new) == then


async def test_the_same_webhook_hundreds_of_times_has_one_effect(house: House, practice: Practice) -> None:
    new = await practice.book(await house.person(), await practice.coach())
    webhook = house.till.pay(order_of(new))
    assert webhook is not None
    for _ in range(50 if LONG_RUN else 10):
        await asyncio.gather(*(worker.receive_webhook("till", *webhook) for worker in house.workers * 10))
    await house.until_dry()
    assert await house.told(new) == [("booking_created", None), ("payment_completed", None)]
    assert await house.jobs() == [("gateway_event", "delivered")]
    assert await practice.history(new) == ["created", "paid"]


@pytest.mark.parametrize(("by_coach", "back"), [(False, "16.50"), (True, "30.00")])
async def test_who_cancels_decides_how_much_is_given_back(
    house: House, practice: Practice, by_coach: bool, back: str
) -> None:
    client, coach = await house.person(), await practice.coach(policy=[(24, 55), (0, 0)])
    new = await practice.paid(client, coach)
    await practice.cancel(coach if by_coach else client, new)
    await house.until_dry()
    assert await house.booking(new) == GIVEN_BACK
    assert await house.refunds(new) == [(Decimal(back), "processed", "booking_cancelled")]
    assert house.till.kept("INR") == 3000 - Decimal(back) * 100
    assert await house.wrongs() == []


@pytest.mark.parametrize(("by_coach", "back"), [(False, "9.00"), (True, "30.00")])
async def test_a_client_who_moves_a_session_does_not_get_back_what_was_forfeit(
    house: House, practice: Practice, by_coach: bool, back: str
) -> None:
    client, coach = await house.person(), await practice.coach(policy=[(48, 100), (0, 30)])
    new = await practice.paid(client, coach, hour=-9 * 24 + 12)  # tomorrow
    await practice.move(coach if by_coach else client, new, 0)
    await practice.cancel(client, new)
    await house.until_dry()
    assert await house.refunds(new) == [(Decimal(back), "processed", "booking_cancelled")]


async def test_an_unpaid_session_that_is_cancelled_can_be_paid_no_more(house: House, practice: Practice) -> None:
    client = await house.person()
    new = await practice.book(client, await practice.coach())
    await practice.cancel(client, new)
    await house.until_dry()
    assert house.till.orders[order_of(new)].state == "closed"


async def test_a_payment_on_its_way_while_the_client_cancels_is_given_back(house: House, practice: Practice) -> None:
    client = await house.person()
    new = await practice.book(client, await practice.coach())
    report = house.received(new)
    await practice.cancel(client, new)
    assert await house.settle("till", report) is Settled.GIVEN_BACK
    await house.until_dry()
    assert await house.refunds(new) == [(PRICE, "processed", "booking_cancelled")]


async def test_paid_on_the_spot_and_at_the_gateway_the_second_is_given_back(house: House, practice: Practice) -> None:
    coach = await practice.coach()
    new = await practice.book(await house.person(), coach)
    await house.worker.record_offline_payment.by_facilitator(coach, ref_of(new))
    assert await house.settle("till", house.received(new)) is Settled.GIVEN_BACK
    await house.until_dry()
    assert await house.booking(new) == PAID
    assert await house.refunds(new) == [(PRICE, "processed", "paid_twice")]
    assert house.till.kept("INR") == 0


async def test_who_waits_for_a_slow_gateway_is_answered_without_the_rest_of_the_links(practice: Practice) -> None:
    client, coach = await practice.house.person(), await practice.coach()
    reader = PostgresAppointmentQueries(practice.house.worker.database)
    practice.house.till.away = True
    views = [
        await reader.get((await practice.book(client, coach, hour)).placed.id)
        for hour in range(CONCURRENT_REQUESTS + 3)
    ]
    practice.house.till.away = False
    open_checkout = practice.house.worker.open_checkout
    hasty = AppointmentPayment(replace(open_checkout, patience=timedelta(0)), reader)
    assert list(await hasty.open(views))[CONCURRENT_REQUESTS:] == [None] * 3
    patient = await AppointmentPayment(open_checkout, reader).open(views)
    assert len({link for link in patient if link}) == CONCURRENT_REQUESTS + 3


async def test_money_given_back_at_the_gateways_own_desk_is_in_the_books_and_the_history(
    house: House, practice: Practice
) -> None:
    new = await practice.paid(await house.person(), await practice.coach())
    house.till.orders[order_of(new)].refunds["by hand"] = 1000
    webhook = house.till.refund_webhook(order_of(new), "by hand", ours=False)
    await house.take(webhook)
    await house.until_dry()
    assert await house.booking(new) == ("confirmed", "refunded")
    assert await house.refunds(new) == [(Decimal(10), "processed", "at_the_gateway")]
    assert await practice.history(new) == ["created", "paid", "refunded"]
    refunded = ("booking_refunded", "at_the_gateway")
    assert (await house.told(new))[-1] == refunded
    assert [(await house.told(new, "email", to))[-1] for to in ("client", "coach")] == [refunded] * 2
    assert await house.wrongs() == []


async def test_a_session_that_is_moved_keeps_its_payment(house: House, practice: Practice) -> None:
    client, coach = await house.person(), await practice.coach()
    paid, unpaid = await practice.paid(client, coach), await practice.book(client, coach, 2)
    for new, hour in ((paid, 5), (unpaid, 6)):
        await practice.move(client, new, hour)
    assert await house.booking(paid) == PAID
    assert await house.worker.open_checkout.for_user(client, ref_of(unpaid)) == unpaid.payment_url
    assert await house.settle("till", house.received(unpaid)) is Settled.RECEIVED
    assert await house.booking(unpaid) == PAID
    assert await house.wrongs() == []


async def test_a_gateway_that_is_away_costs_the_link_and_not_the_time(house: House, practice: Practice) -> None:
    client, coach = await house.person(), await practice.coach()
    house.till.away = True
    new = await practice.book(client, coach)
    assert (new.payment_url, await house.booking(new)) == (None, PENDING)
    house.till.away = False
    url = await house.worker.open_checkout.for_user(client, ref_of(new))
    assert url == f"https://till.example/{order_of(new)}"
    assert await house.settle("till", house.received(new)) is Settled.RECEIVED


async def test_with_every_webhook_lost_a_session_is_confirmed_by_looking_up(house: House, practice: Practice) -> None:
    new = await practice.book(await house.person(), await practice.coach())
    house.till.pay(order_of(new))
    await house.minutes_pass(3)
    assert await house.worker.reconcile() == 1
    assert await house.booking(new) == PAID


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
async def test_an_hours_price_is_shared_out_to_what_can_be_paid(
    house: House, practice: Practice, per_hour: str, currency: str, minutes: int, price: str
) -> None:
    new = await practice.book(await house.person(), await practice.coach(per_hour, currency), minutes=minutes)
    assert str(Money(new.placed.price, new.placed.currency).amount) == price
    if Decimal(price):
        assert await house.settle("till", house.received(new)) is Settled.RECEIVED
        assert house.till.kept(currency) == Money(Decimal(price), currency).minor_units
    else:
        assert (new.payment_url, await house.booking(new)) == (None, ("pending", "not_required"))


async def test_a_report_of_another_amount_confirms_no_session(house: House, practice: Practice) -> None:
    new = await practice.book(await house.person(), await practice.coach())
    report = house.says(new, PaymentUpdate.RECEIVED, amount=Money(Decimal("29.99"), "INR"))
    assert await house.settle("till", report) is Settled.DIFFERS
    assert await house.booking(new) == PENDING
    assert await house.differences() == ["received 29.99 INR, asked for 30.00 INR"]
