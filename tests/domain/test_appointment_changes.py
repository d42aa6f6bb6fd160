"""Each transition of an appointment records one domain event, and each kind of event has its effects."""

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.accounts import UserId
from domain.appointment_effects import EFFECTS
from domain.appointments import (
    Appointment,
    AppointmentCancelReason,
    AppointmentChange,
    AppointmentFile,
    AppointmentStatus,
)
from domain.disputes import DisputeStatus
from domain.money import Money
from domain.payments import PaymentStatus
from domain.refunds import RefundPolicy, RefundTier
from tests.domain.builders import NOW, an_interval
from tests.domain.test_appointments import an_appointment

CLIENT, COACH = UserId(1), UserId(2)
MONEY = Money.from_minor_units(4000, "INR")
FILE = AppointmentFile(UUID(int=7), "goals.txt")
LATER = an_interval(starts_in=timedelta(days=9))
A_LINK = "https://meet.example.com/7"

TRANSITIONS: dict[str, tuple[AppointmentChange, Callable[[Appointment], Appointment]]] = {
    "booked": (AppointmentChange.CREATED, lambda old: old.booked()),
    "confirmed": (AppointmentChange.CONFIRMED, lambda old: old.confirmed(NOW, by=COACH)),
    "completed": (AppointmentChange.COMPLETED, lambda old: old.completed(NOW, by=COACH)),
    "cancelled": (
        AppointmentChange.CANCELLED,
        lambda old: old.cancelled(NOW, AppointmentCancelReason.BY_PERSON, by=CLIENT),
    ),
    "rescheduled_by_coach": (
        AppointmentChange.RESCHEDULED,
        lambda old: old.rescheduled_by_coach(LATER, LATER, NOW, by=COACH),
    ),
    "rescheduled_by_client": (
        AppointmentChange.RESCHEDULED,
        lambda old: old.rescheduled_by_client(LATER, LATER, NOW, by=CLIENT),
    ),
    "with_notes": (AppointmentChange.NOTES_CHANGED, lambda old: old.with_notes("Goals", NOW, by=CLIENT)),
    "with_meeting_link": (AppointmentChange.LINKED, lambda old: old.with_meeting_link(A_LINK, NOW)),
    "with_attachment": (AppointmentChange.ATTACHMENT_ADDED, lambda old: old.with_attachment(FILE, NOW, by=CLIENT)),
    "without_attachment": (
        AppointmentChange.ATTACHMENT_REMOVED,
        lambda old: old.without_attachment(FILE, NOW, by=CLIENT),
    ),
    "paid": (AppointmentChange.PAID, lambda old: old.paid(NOW, MONEY, by=COACH)),
    "payment_failed": (AppointmentChange.PAYMENT_FAILED, lambda old: old.payment_failed(NOW, MONEY)),
    "reinstated": (AppointmentChange.REINSTATED, lambda old: old.reinstated(NOW, MONEY)),
    "refunded": (AppointmentChange.REFUNDED, lambda old: old.refunded(NOW, by=COACH)),
    "dispute_opened": (
        AppointmentChange.DISPUTE_OPENED,
        lambda old: old.dispute_opened(NOW, MONEY, of_payment=DisputeStatus.OPEN),
    ),
    "dispute_won": (
        AppointmentChange.DISPUTE_WON,
        lambda old: old.dispute_won(NOW, MONEY, of_payment=DisputeStatus.WON),
    ),
    "dispute_lost": (
        AppointmentChange.DISPUTE_LOST,
        lambda old: old.dispute_lost(NOW, MONEY, of_payment=DisputeStatus.LOST, is_returned=True),
    ),
}
"""Every public method of an appointment that returns a changed one."""


def before(transition: str) -> Appointment:
    """An appointment that the transition can change."""
    status = AppointmentStatus.CONFIRMED if transition == "completed" else AppointmentStatus.PENDING
    return an_appointment(status=status, hold_until=None)


def test_table_contains_every_transition() -> None:
    public = {name: each for name, each in inspect.getmembers(Appointment, inspect.isfunction) if name[0] != "_"}
    assert {name for name, each in public.items() if "Appointment" in str(each.__annotations__.get("return"))} - {
        "reason_of_cancellation"
    } == set(TRANSITIONS)


@pytest.mark.parametrize("transition", TRANSITIONS)
def test_transition_records_one_event(transition: str) -> None:
    change, apply = TRANSITIONS[transition]
    old = before(transition)
    new = apply(old)
    (event,) = new.events
    assert (event.change, event.after) == (change, new)
    assert event.before == (None if change is AppointmentChange.CREATED else old)
    assert new.with_notes("More", NOW, by=CLIENT).events[0] is event, "a second transition keeps the first event"


AT = NOW + timedelta(hours=1)
NEXT = {"sequence": 1, "updated_at": AT}
"""What changes with all that calendar entries show."""

CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[Appointment], Appointment]]] = {
    "confirmed": (
        NEXT | {"status": AppointmentStatus.CONFIRMED},
        {"by": COACH},
        lambda old: old.confirmed(AT, by=COACH),
    ),
    "completed": (
        {"updated_at": AT, "status": AppointmentStatus.COMPLETED},
        {"by": COACH},
        lambda old: old.completed(AT, by=COACH),
    ),
    "cancelled": (
        NEXT
        | {
            "status": AppointmentStatus.CANCELLED,
            "payment_status": PaymentStatus.REFUNDED,
            "cancelled_at": AT,
            "cancel_reason": AppointmentCancelReason.BY_PERSON,
        },
        {"by": CLIENT, "reason": AppointmentCancelReason.BY_PERSON},
        lambda old: old.cancelled(AT, AppointmentCancelReason.BY_PERSON, by=CLIENT, refunded=True),
    ),
    "rescheduled_by_coach": (
        NEXT | {"session": LATER, "busy": LATER, "refund_policy": RefundPolicy()},
        {"by": COACH, "reason": AppointmentCancelReason.BY_COACH},
        lambda old: old.rescheduled_by_coach(LATER, LATER, AT, by=COACH),
    ),
    "rescheduled_by_client": (
        NEXT | {"session": LATER, "busy": LATER},
        {"by": CLIENT},
        lambda old: old.rescheduled_by_client(LATER, LATER, AT, by=CLIENT),
    ),
    "with_notes": (
        {"updated_at": AT, "notes": "Goals"},
        {"by": CLIENT},
        lambda old: old.with_notes("Goals", AT, by=CLIENT),
    ),
    "with_meeting_link": (
        {"updated_at": AT, "meeting_link": A_LINK},
        {},
        lambda old: old.with_meeting_link(A_LINK, AT),
    ),
    "with_attachment": ({}, {"by": CLIENT, "attachment": FILE}, lambda old: old.with_attachment(FILE, AT, by=CLIENT)),
    "without_attachment": (
        {},
        {"by": CLIENT, "attachment": FILE},
        lambda old: old.without_attachment(FILE, AT, by=CLIENT),
    ),
    "paid": (
        NEXT | {"status": AppointmentStatus.CONFIRMED, "payment_status": PaymentStatus.COMPLETED},
        {"by": COACH, "money": MONEY},
        lambda old: old.paid(AT, MONEY, by=COACH),
    ),
    "payment_failed": (
        {"updated_at": AT, "payment_status": PaymentStatus.FAILED},
        {"by": COACH, "money": MONEY},
        lambda old: old.payment_failed(AT, MONEY, by=COACH),
    ),
    "refunded": (
        {"updated_at": AT, "payment_status": PaymentStatus.REFUNDED},
        {"by": COACH},
        lambda old: old.refunded(AT, by=COACH),
    ),
}
"""For each transition the fields that it changes, and the facts of its domain event."""


@pytest.mark.parametrize("transition", CHANGED)
def test_transition_changes_these_fields_and_records_these_facts(transition: str) -> None:
    changed, facts, apply = CHANGED[transition]
    old = replace(before(transition), refund_policy=RefundPolicy((RefundTier(hours_before=24, percent=50),)))
    new = apply(old)
    assert new == replace(old, **changed)
    (event,) = new.events
    recorded = {each.name: getattr(event, each.name) for each in fields(event)}
    del recorded["change"], recorded["before"], recorded["after"]
    nothing = dict.fromkeys(("by", "reason", "money", "attachment"))
    assert recorded == nothing | {"at": AT} | facts


def test_reinstated_appointment_is_confirmed_and_paid() -> None:
    cancelled = before("cancelled").cancelled(NOW, AppointmentCancelReason.PAYMENT_EXPIRED, by=None)
    new = replace(cancelled, events=()).reinstated(AT, MONEY)
    assert (new.status, new.payment_status) == (AppointmentStatus.CONFIRMED, PaymentStatus.COMPLETED)
    assert (new.cancelled_at, new.cancel_reason) == (None, None)
    assert (new.sequence, new.updated_at) == (2, AT)
    (event,) = new.events
    assert (event.at, event.money, event.by) == (AT, MONEY, None)


def test_booked_appointment_is_an_event_of_its_client() -> None:
    (event,) = an_appointment(created_at=AT).booked().events
    assert (event.at, event.by, event.money, event.reason) == (AT, CLIENT, None, None)


def test_every_change_has_effects_and_a_transition() -> None:
    assert set(EFFECTS) == set(AppointmentChange) == {change for change, _ in TRANSITIONS.values()}
