"""Payments of appointments with several workers on PostgreSQL. Their rules are tested in `tests/application/`."""

import asyncio
from decimal import Decimal

import pytest

from application.payments.settlement import Settled
from domain.appointments import AppointmentStatus, PaymentConfirms
from domain.availability import SlotUnavailable
from domain.payments import NothingToPay
from tests.support.app_harness import AppHarness, order_of, ref_of
from tests.support.appointment_harness import AppointmentHarness
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
