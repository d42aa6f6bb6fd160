"""Each transition of an appointment records one domain event, and each kind of event has its effects."""

import inspect
from collections.abc import Callable
from datetime import timedelta
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
from domain.money import Money
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


def test_every_change_has_effects_and_a_transition() -> None:
    assert set(EFFECTS) == set(AppointmentChange) == {change for change, _ in TRANSITIONS.values()}
