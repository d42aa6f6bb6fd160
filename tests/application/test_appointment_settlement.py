"""Rules of the settlement of payments for appointments: late, second, declined and refunded payments."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from application.payments.settlement import Settled
from domain.accounts import Role, User
from domain.appointments import (
    AppointmentStatus,
)
from domain.availability import Hours
from domain.disputes import DisputeStatus
from domain.outbox import Destination, MessageType
from domain.payments import RefundUpdate
from domain.refunds import PAID_AFTER_START, SEAT_GONE
from domain.time import Interval
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import HOLD, HOUR, inr

APPLICATION = AppointmentApplication

CONFIRMED = AppointmentStatus.CONFIRMED


async def test_late_payment_reserves_a_free_time_again(app: AppointmentApplication) -> None:
    appointment_id = await app.expired_appointment(
        await app.coach(weekly=dict.fromkeys(range(7), (Hours(9 * 60, 17 * 60),)))
    )
    async with app.open_work() as work:
        coach = await work.coaches.get_by_id(app.stored(appointment_id).coach_id)
        changed = replace(coach.availability, weekly={})
        await work.coaches.save(coach.user.id, changed, inr(99), coach.refund_policy, app.clock.now())
        await work.commit()
    assert await app.receive(appointment_id) is Settled.REINSTATED, "the hours are not checked again"
    assert app.states(appointment_id) == ["confirmed, completed"]
    assert [change for change, _ in await app.changes(appointment_id)] == ["created", "cancelled", "reinstated"]
    assert {each.changed_at for each in (await app.history(appointment_id))[1:]} == {app.clock.now()}
    assert app.stored(appointment_id).cancel_reason is None
    assert app.refunded() == []
    assert {each.payload["money"] for each in app.messages(MessageType.PAYMENT_COMPLETED)} == {inr(30)}


async def by_another_session(app: AppointmentApplication, coach: User) -> None:
    await app.booked(coach, hour=10.5)


async def by_an_event(app: AppointmentApplication, coach: User) -> None:
    await app.event(coach, interval=Interval(at(10.5), at(12)))


async def by_a_calendar(app: AppointmentApplication, coach: User) -> None:
    app.connect_calendar(coach, Interval(at(9), at(10.25)))


async def by_a_coach_who_left(app: AppointmentApplication, coach: User) -> None:
    app.replace(replace(coach, role=Role.USER))


async def by_an_inactive_coach(app: AppointmentApplication, coach: User) -> None:
    app.deactivate(coach)


async def by_the_start(app: AppointmentApplication, coach: User) -> None:
    app.clock.moment = at(10)


@pytest.mark.parametrize(
    ("take", "reason"),
    [
        (by_another_session, SEAT_GONE),
        (by_an_event, SEAT_GONE),
        (by_a_calendar, SEAT_GONE),
        (by_a_coach_who_left, SEAT_GONE),
        (by_an_inactive_coach, SEAT_GONE),
        (by_the_start, PAID_AFTER_START),
    ],
)
async def test_late_payment_for_a_taken_time_is_refunded_once(
    app: AppointmentApplication, take: Callable[[AppointmentApplication, User], Awaitable[None]], reason: str
) -> None:
    appointment_id = await app.expired_appointment()
    await take(app, app.coach_of(appointment_id))
    outcomes = [await app.receive(appointment_id) for _ in range(3)]
    assert outcomes == [Settled.GIVEN_BACK, Settled.NO_CHANGE, Settled.NO_CHANGE]
    assert app.states(appointment_id) == ["cancelled, refunded"]
    assert app.refunded() == [(inr(30), reason)]
    await app.work()
    assert {each.payload["reason"] for each in app.messages(MessageType.BOOKING_REFUNDED)} == {reason}


async def test_time_taken_between_check_and_reinstatement_is_refunded(
    app: AppointmentApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check does not see a concurrent appointment; only the constraint does."""
    appointment_id = await app.expired_appointment()
    await by_another_session(app, app.coach_of(appointment_id))

    async def not_seen(*_: object, **__: object) -> list[Interval]:
        return []

    monkeypatch.setattr("tests.support.memory.coaches.MemoryCoaches.busy", not_seen)
    assert await app.receive(appointment_id) is Settled.GIVEN_BACK
    assert app.refunded() == [(inr(30), SEAT_GONE)]


async def test_payment_after_a_cancellation_is_refunded(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    await app.cancel(app.client_of(appointment_id), appointment_id)
    assert await app.receive(appointment_id) is Settled.GIVEN_BACK
    assert app.states(appointment_id) == ["cancelled, refunded"]
    assert app.refunded() == [(inr(30), MessageType.BOOKING_CANCELLED)]


async def test_payment_after_the_start_is_refunded_and_ends_the_hold(app: AppointmentApplication) -> None:
    coach, starts_at = await app.coach(), app.clock.now() + HOUR / 4
    booked = await app.book_appointment(await app.person(), coach.uuid, starts_at, HOUR, None)
    app.clock.moment = starts_at
    assert await app.receive(booked.appointment.id) is Settled.GIVEN_BACK
    assert app.states(booked.appointment.id) == ["cancelled, refunded"]
    assert app.refunded() == [(inr(30), PAID_AFTER_START)]


async def test_payment_of_a_session_counts_from_the_arrival_of_its_webhook(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment(hour=10)
    update = app.gateway.pay(app.payment_of(appointment_id).id)
    app.clock.moment = at(10)
    assert await app.settle("gateway", update, arrived_at=at(9)) is Settled.RECEIVED
    assert app.states(appointment_id) == ["confirmed, completed"]


async def test_payment_is_refunded_if_the_session_ended_before_its_webhook_was_applied(
    app: AppointmentApplication,
) -> None:
    appointment_id = await app.appointment(hour=10)
    update = app.gateway.pay(app.payment_of(appointment_id).id)
    app.clock.moment = at(11)
    assert await app.settle("gateway", update, arrived_at=at(9)) is Settled.GIVEN_BACK
    assert app.refunded() == [(inr(30), PAID_AFTER_START)]


async def test_payment_for_a_coach_who_left_is_accepted_within_the_hold(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    await by_a_coach_who_left(app, app.coach_of(appointment_id))
    assert await app.receive(appointment_id) is Settled.RECEIVED
    assert app.states(appointment_id) == ["confirmed, completed"]


async def test_declined_payment_can_be_paid_later(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    await app.settle("gateway", app.gateway.decline(app.payment_of(appointment_id).id))
    assert app.states(appointment_id) == ["pending, failed"]
    assert {each.payload["money"] for each in app.messages(MessageType.PAYMENT_FAILED)} == {inr(30)}
    assert [key for key, to in app.sent(MessageType.PAYMENT_FAILED) if to is Destination.EMAIL] == [
        f"coaching:{appointment_id}:client"
    ]
    await app.receive(appointment_id)
    assert app.states(appointment_id) == ["confirmed, completed"]


async def test_failure_that_arrives_after_the_cancellation_changes_nothing(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    await app.cancel(app.client_of(appointment_id), appointment_id)
    await app.settle("gateway", app.gateway.decline(app.payment_of(appointment_id).id))
    assert app.states(appointment_id) == ["cancelled, pending"]
    assert app.messages(MessageType.PAYMENT_FAILED) == []


async def test_refund_made_at_the_gateway_is_recorded_in_the_history(app: AppointmentApplication) -> None:
    appointment_id = await app.paid_appointment()
    payment = app.payment_of(appointment_id)
    assert payment.gateway_id is not None
    update = RefundUpdate("by-hand", payment.gateway_id, inr(10), succeeded=True)
    await app.refunds.settle_update("gateway", update)
    assert app.states(appointment_id) == ["confirmed, refunded"]
    assert app.refunded() == [(inr(10), "at_the_gateway")]
    assert [change for change, _ in await app.changes(appointment_id)] == ["created", "paid", "refunded"]


async def test_lost_update_is_found_by_looking_up(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    app.gateway.pay(app.payment_of(appointment_id).id)
    app.clock.advance(HOLD / 2)
    assert await app.reconcile() == 1
    assert app.states(appointment_id) == ["confirmed, completed"]


@pytest.mark.parametrize("decided", [DisputeStatus.WON, DisputeStatus.LOST])
async def test_dispute_is_shown_and_mailed_to_the_coach_alone(
    app: AppointmentApplication, decided: DisputeStatus
) -> None:
    appointment_id = await app.paid_appointment()
    payment_id = app.payment_of(appointment_id).id
    for status in (DisputeStatus.OPEN, decided):
        await app.settle_dispute("gateway", app.gateway.dispute(payment_id, status))
        assert app.stored(appointment_id).dispute is status
        message_type = MessageType(f"dispute_{'opened' if status is DisputeStatus.OPEN else status}")
        assert app.sent(message_type) == [
            (f"coaching:{appointment_id}", Destination.CRM),
            (f"coaching:{appointment_id}", Destination.REALTIME),
            (f"coaching:{appointment_id}:coach", Destination.EMAIL),
        ]
    assert app.states(appointment_id) == [f"confirmed, {'refunded' if decided is DisputeStatus.LOST else 'completed'}"]
    assert [change for change, _ in await app.changes(appointment_id)][-2:] == ["dispute_opened", f"dispute_{decided}"]


async def test_refund_of_a_cancelled_appointment_waits_for_its_dispute(app: AppointmentApplication) -> None:
    appointment_id = await app.paid_appointment()
    payment_id = app.payment_of(appointment_id).id
    await app.settle_dispute("gateway", app.gateway.dispute(payment_id))
    await app.cancel(app.client_of(appointment_id), appointment_id)
    await app.work()
    assert app.gateway.refunds == {}
    await app.settle_dispute("gateway", app.gateway.dispute(payment_id, DisputeStatus.WON))
    await app.work()
    assert [each.amount for each in app.gateway.refunds.values()] == [inr(30)]
