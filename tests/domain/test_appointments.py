"""What a change of an appointment does to its hold, its refund policy and its length."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import Role, UserId
from domain.appointments import (
    Appointment,
    AppointmentCancelReason,
    AppointmentStatus,
    HasBegun,
    NotReschedulable,
    PricedLengthFixed,
    session,
)
from domain.ids import AppointmentId
from domain.money import Money
from domain.payments import PaymentStatus
from domain.refunds import RefundPolicy, RefundTier
from domain.time import Interval
from tests.domain.builders import NOW, a_user, an_interval

WEEK_OR_DAY_BEFORE = RefundPolicy((RefundTier(hours_before=168, percent=100), RefundTier(hours_before=24, percent=50)))


def an_appointment(**changes: Any) -> Appointment:
    session = an_interval()
    usual = Appointment(
        id=AppointmentId(UUID(int=1)),
        client_id=UserId(1),
        coach_id=UserId(2),
        session=session,
        busy=session,
        status=AppointmentStatus.PENDING,
        payment_status=PaymentStatus.PENDING,
        price=Money(Decimal(40), "INR"),
        refund_policy=RefundPolicy(),
        notes=None,
        meeting_link=None,
        series_id=None,
        sequence=0,
        hold_until=NOW + timedelta(minutes=30),
        cancelled_at=None,
        cancel_reason=None,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(usual, **changes)


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=30)))
def test_rescheduling_never_extends_the_hold_beyond_its_end_or_the_start(starts_in: timedelta) -> None:
    earlier = an_interval(starts_in=starts_in)
    moved = an_appointment().rescheduled_by_client(earlier, earlier, NOW, by=UserId(1))
    assert moved.hold_until == min(NOW + timedelta(minutes=30), earlier.starts_at)


def test_rescheduling_an_appointment_without_a_hold_adds_none() -> None:
    later = an_interval(starts_in=timedelta(days=9))
    assert an_appointment(hold_until=None).rescheduled_by_coach(later, later, NOW, by=UserId(2)).hold_until is None


def test_length_of_a_paid_appointment_is_fixed_and_of_a_free_one_is_not() -> None:
    longer = an_interval(lasts=timedelta(hours=2))
    with pytest.raises(PricedLengthFixed):
        an_appointment().rescheduled_by_coach(longer, longer, NOW, by=UserId(2))
    free = an_appointment(price=Money(Decimal(0), "INR"), payment_status=PaymentStatus.NOT_REQUIRED)
    assert free.rescheduled_by_coach(longer, longer, NOW, by=UserId(2)).session == longer


def test_client_reschedules_until_the_start_and_coach_also_later() -> None:
    begun = Interval(NOW, NOW + timedelta(hours=1))
    later = an_interval()
    appointment = an_appointment(session=begun)
    with pytest.raises(HasBegun):
        appointment.rescheduled_by_client(later, later, NOW, by=UserId(1))
    assert appointment.rescheduled_by_coach(later, later, NOW, by=UserId(2)).session == later


@pytest.mark.parametrize("status", [AppointmentStatus.COMPLETED, AppointmentStatus.CANCELLED])
def test_ended_appointment_cannot_be_rescheduled(status: AppointmentStatus) -> None:
    later = an_interval(starts_in=timedelta(days=9))
    with pytest.raises(NotReschedulable):
        an_appointment(status=status).rescheduled_by_client(later, later, NOW, by=UserId(1))


def test_rescheduling_by_the_client_does_not_restore_an_expired_refund() -> None:
    paid = an_appointment(
        payment_status=PaymentStatus.COMPLETED,
        status=AppointmentStatus.CONFIRMED,
        session=an_interval(starts_in=timedelta(days=2)),
        refund_policy=WEEK_OR_DAY_BEFORE,
    )
    far = an_interval(starts_in=timedelta(days=30))
    by_client, by_coach = (
        paid.rescheduled_by_client(far, far, NOW, by=UserId(1)),
        paid.rescheduled_by_coach(far, far, NOW, by=UserId(2)),
    )
    assert by_client.refund_policy.percent(now=NOW, starts_at=far.starts_at) == 50
    just_before = far.starts_at - timedelta(seconds=1)
    assert by_client.refund_policy.percent(now=just_before, starts_at=far.starts_at) == 0
    assert by_coach.refund_policy.percent(now=just_before, starts_at=far.starts_at) == 100, "the coach moved it"


def test_payment_confirms_a_pending_appointment_and_ends_the_hold() -> None:
    paid = an_appointment().paid(NOW, Money(Decimal(40), "INR"))
    assert (paid.status, paid.payment_status, paid.hold_until) == (
        AppointmentStatus.CONFIRMED,
        PaymentStatus.COMPLETED,
        None,
    )


@pytest.mark.parametrize(
    ("changes", "expired"),
    [
        ({}, False),
        ({"hold_until": NOW}, True),
        ({"hold_until": NOW, "payment_status": PaymentStatus.FAILED}, True),
        ({"hold_until": NOW, "payment_status": PaymentStatus.COMPLETED}, False),
        ({"hold_until": NOW, "status": AppointmentStatus.CONFIRMED}, False),
        ({"hold_until": None}, False),
    ],
)
def test_only_an_unpaid_pending_appointment_expires(changes: dict[str, Any], expired: bool) -> None:
    assert an_appointment(**changes).has_expired(NOW) is expired


@pytest.mark.parametrize("by", AppointmentCancelReason)
def test_cancelled_appointment_has_no_hold(by: AppointmentCancelReason) -> None:
    cancelled = an_appointment().cancelled(NOW, by, by=None)
    assert (cancelled.status, cancelled.hold_until, cancelled.cancel_reason) == (AppointmentStatus.CANCELLED, None, by)


@pytest.mark.parametrize(
    ("user_id", "role", "reason"),
    [
        (1, Role.USER, AppointmentCancelReason.BY_PERSON),
        (2, Role.FACILITATOR, AppointmentCancelReason.BY_COACH),
        (3, Role.ADMIN, AppointmentCancelReason.BY_ORGANISER),
        (1, Role.ADMIN, AppointmentCancelReason.BY_PERSON),
        (2, Role.ADMIN, AppointmentCancelReason.BY_COACH),
    ],
)
def test_cancellation_reason_states_who_cancelled(user_id: int, role: Role, reason: AppointmentCancelReason) -> None:
    assert an_appointment().reason_of_cancellation(a_user(user_id, role)) is reason


def test_session_begins_at_a_second_and_lasts_whole_minutes() -> None:
    booked = session(NOW + timedelta(microseconds=1), timedelta(minutes=30, seconds=59))
    assert booked == Interval(NOW, NOW + timedelta(minutes=30))
