"""Mails about changes: those of a few minutes are merged, and what matters does not wait."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from application.notifications import change_mails
from domain.accounts import Role
from domain.appointments import AppointmentCancelReason, AppointmentStatus
from domain.events import Event, VisibleDetails
from domain.ids import BookingId
from domain.outbox import Destination, MessageType
from domain.reminders import ReminderStatus
from domain.time import Interval
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import DAY, HOUR
from tests.support.memory.claims import OutboxRow
from tests.support.memory.rows import change_mails_in

WINDOW = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)


class ChangingApplication(AppointmentApplication):
    def __init__(self, **more: Any) -> None:
        super().__init__(**{"change_mail_window": WINDOW} | more)

    async def change(self, event: Event, **changes: Any) -> None:
        await self.update_event(self.facilitator(event), event.id, lambda old: self.changed(old, **changes))

    def moved(self, event: Event, by: timedelta) -> dict[str, Any]:
        interval = event.details.interval
        return {"interval": Interval(interval.starts_at + by, interval.ends_at + by)}

    async def later(self, by: timedelta = WINDOW) -> int:
        self.clock.advance(by)
        return await self.queue_change_mails()

    def mails(self, message_type: MessageType = MessageType.BOOKING_MOVED) -> list[OutboxRow]:
        return [row for row in self.messages(message_type) if row.destination is Destination.EMAIL]

    def compared(self) -> list[tuple[VisibleDetails, VisibleDetails]]:
        """What each mail shows as before and after."""
        return [(row.payload["before"], row.payload["shows"]) for row in self.mails()]


@pytest.fixture
def app() -> ChangingApplication:
    return ChangingApplication()


async def test_changes_within_the_window_share_one_mail(app: ChangingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    await app.change(event, title="Pilates")
    app.clock.advance(2 * MINUTE)
    await app.change(event, **app.moved(event, HOUR))
    app.clock.advance(2 * MINUTE)
    await app.change(event, location="Hall 2")
    assert await app.queue_change_mails() == 0
    assert app.mails() == []
    assert await app.later(MINUTE) == 1
    assert app.compared() == [(event.details.visible, app.stored_event(event.id).details.visible)]
    assert await app.later() == 0


async def test_window_begins_with_the_first_change(app: ChangingApplication) -> None:
    """A further change does not make the mail wait longer."""
    event = await app.event()
    await app.paid(event)
    for number in range(10):
        await app.change(event, title=f"Yoga {number}")
        await app.later(3 * MINUTE)
    assert [before.title for before, _ in app.compared()] == ["Yoga", "Yoga 1", "Yoga 3", "Yoga 5", "Yoga 7"]
    assert [after.title for _, after in app.compared()] == ["Yoga 1", "Yoga 3", "Yoga 5", "Yoga 7", "Yoga 9"]


async def test_crm_gets_each_change_immediately(app: ChangingApplication) -> None:
    event = await app.event()
    await app.change(event, title="Pilates")
    await app.change(event, title="Tai Chi")
    assert app.sent(MessageType.EVENT_UPDATED) == [(f"event:{event.id}", Destination.CRM)] * 2


async def test_change_that_was_undone_is_not_mailed(app: ChangingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    await app.change(event, title="Pilates")
    await app.change(event, title="Yoga")
    assert await app.later() == 1
    assert app.mails() == []
    assert change_mails_in(app.store.tables) == {}


async def test_undone_change_is_mailed_if_another_mail_has_shown_it(app: ChangingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    await app.paid(event)
    await app.change(event, title="Pilates")
    await app.write_to_participants(app.facilitator(event), event.id, subject="Hello", text="See you")
    await app.change(event, title="Yoga")
    await app.later()
    assert [(before.title, after.title) for before, after in app.compared()] == [("Pilates", "Yoga")] * 2


async def test_undone_change_is_mailed_if_a_reminder_was_sent_meanwhile(app: ChangingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    await app.change(event, title="Pilates")
    reminders = app.store.tables.of("reminders")
    for key, row in reminders.items():
        reminders[key] = replace(row, status=ReminderStatus.SENT, settled_at=app.clock.now())
    await app.change(event, title="Yoga")
    await app.later()
    assert [row.ordering_key for row in app.mails()] == [f"booking:{booking_id}"]


async def test_cancellation_is_sent_immediately_and_supersedes_the_waiting_mail(app: ChangingApplication) -> None:
    event = await app.event()
    cancelled, kept = await app.paid(event), await app.paid(event)
    await app.change(event, title="Pilates")
    await app.cancel_booking(app.owner(cancelled), cancelled)
    assert [row.ordering_key for row in app.mails(MessageType.BOOKING_CANCELLED)] == [f"booking:{cancelled}"]
    await app.later()
    assert [row.ordering_key for row in app.mails()] == [f"booking:{kept}"]


async def test_cancelled_event_has_no_mail_about_its_changes(app: ChangingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    await app.change(event, title="Pilates")
    await app.cancel_event(app.facilitator(event), event.id)
    await app.later()
    assert app.mails() == []
    assert len(app.mails(MessageType.BOOKING_CANCELLED)) == 1


async def _receipt(app: ChangingApplication, booking_id: BookingId) -> None:
    await app.settle(app.gateway.name, app.gateway.pay(app.payment_id(booking_id)))


async def test_receipt_does_not_wait_for_a_change(app: ChangingApplication) -> None:
    event = await app.event()
    booking_id = (await app.book(event)).reserved.id
    await app.change(event, title="Pilates")
    await _receipt(app, booking_id)
    [receipt] = app.mails(MessageType.PAYMENT_COMPLETED)
    assert receipt.payload["shows"].title == "Pilates"
    await app.later()
    assert [(before.title, after.title) for before, after in app.compared()] == [("Yoga", "Pilates")]


@pytest.mark.parametrize("starts_in", [timedelta(minutes=30), timedelta(minutes=10)])
async def test_change_shortly_before_the_start_is_mailed_immediately(
    app: ChangingApplication, starts_in: timedelta
) -> None:
    event = await app.event(starts_in=starts_in)
    await app.paid(event)
    await app.change(event, **app.moved(event, DAY))
    assert app.compared() == [(event.details.visible, app.stored_event(event.id).details.visible)]
    assert change_mails_in(app.store.tables) == {}


async def test_urgent_change_takes_the_waiting_ones_with_it(app: ChangingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    await app.change(event, title="Pilates")
    await app.change(event, interval=app.details(starts_in=10 * MINUTE).interval)
    assert app.compared() == [(event.details.visible, app.stored_event(event.id).details.visible)]
    assert await app.later() == 0


async def test_mail_is_sent_30_minutes_before_the_start_at_the_latest(app: ChangingApplication) -> None:
    event = await app.event(starts_in=timedelta(minutes=32))
    await app.paid(event)
    await app.change(event, title="Pilates")
    assert await app.later(MINUTE) == 0
    assert await app.later(MINUTE) == 1
    assert len(app.mails()) == 1


async def test_full_refund_after_any_of_the_changes_is_named(app: ChangingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    await app.change(event, location="Hall 2")
    await app.change(event, title="Pilates")
    await app.later()
    assert [row.payload["reason"] for row in app.mails()] == ["rescheduled"]


async def test_booking_made_between_two_changes_is_told_of_the_second(app: ChangingApplication) -> None:
    event = await app.event()
    await app.change(event, title="Pilates")
    between = await app.paid(event)
    await app.change(event, title="Tai Chi")
    await app.paid(event)
    await app.later()
    assert [(row.ordering_key, row.payload["before"].title) for row in app.mails()] == [
        (f"booking:{between}", "Pilates")
    ]


async def test_without_a_window_each_change_has_its_mail() -> None:
    app = ChangingApplication(change_mail_window=timedelta(0))
    event = await app.event()
    await app.paid(event)
    await app.change(event, title="Pilates")
    await app.change(event, title="Yoga")
    assert [(before.title, after.title) for before, after in app.compared()] == [
        ("Yoga", "Pilates"),
        ("Pilates", "Yoga"),
    ]


# Appointments


async def test_moves_of_an_appointment_share_one_mail_to_each_side(app: ChangingApplication) -> None:
    appointment_id = await app.in_status(AppointmentStatus.CONFIRMED)
    client, coach = app.client_of(appointment_id), app.coach_of(appointment_id)
    await app.reschedule(client, appointment_id, at(14), None)
    await app.reschedule(coach, appointment_id, at(16), None)
    moved = MessageType.BOOKING_RESCHEDULED
    assert app.mails(moved) == []
    assert [row.destination for row in app.messages(moved)] == [Destination.CRM, Destination.REALTIME] * 2
    assert await app.later() == 1
    key = f"coaching:{appointment_id}"
    assert [row.ordering_key for row in app.mails(moved)] == [f"{key}:client", f"{key}:coach"]
    assert {(row.payload["before"], row.payload["shows"], row.payload["reason"]) for row in app.mails(moved)} == {
        (Interval(at(10), at(11)), Interval(at(16), at(17)), AppointmentCancelReason.BY_COACH)
    }


@pytest.mark.parametrize("is_confirmed_between", [False, True])
async def test_appointment_that_was_moved_back_is_mailed_only_to_those_who_saw_the_other_time(
    app: ChangingApplication, is_confirmed_between: bool
) -> None:
    coach = await app.free_coach()
    appointment_id = await app.appointment(coach)
    await app.reschedule(coach, appointment_id, at(14), None)
    if is_confirmed_between:
        await app.change_status(coach, appointment_id, AppointmentStatus.CONFIRMED)
    await app.reschedule(coach, appointment_id, at(10), None)
    await app.later()
    before = [row.payload["before"] for row in app.mails(MessageType.BOOKING_RESCHEDULED)]
    assert before == ([Interval(at(14), at(15))] * 2 if is_confirmed_between else [])


async def test_cancelled_appointment_has_no_mail_about_its_moves(app: ChangingApplication) -> None:
    appointment_id = await app.in_status(AppointmentStatus.CONFIRMED)
    client = app.client_of(appointment_id)
    await app.reschedule(client, appointment_id, at(14), None)
    await app.cancel(client, appointment_id)
    assert len(app.mails(MessageType.BOOKING_CANCELLED)) == 2
    await app.later()
    assert app.mails(MessageType.BOOKING_RESCHEDULED) == []


# The worker


async def test_a_run_ends_when_nothing_is_due(app: ChangingApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_mails, "AT_ONCE", 2)
    facilitator = await app.person(Role.FACILITATOR)
    events = [await app.event(facilitator, starts_in=7 * DAY + number * DAY) for number in range(5)]
    for event in events:
        await app.paid(event)
        await app.change(event, title="Pilates")
    calls = app.wake_ups.calls
    assert await app.later() == 5
    assert len(app.mails()) == 5
    assert app.wake_ups.calls > calls
