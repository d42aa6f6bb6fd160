"""Random changes, cancellations, other mails, clock steps and crashes of the worker. At any time each recipient has at
most one mail about changes in a window, and at the end the last mail of each shows the present state."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from application.notifications.change_mails import QueueChangeMails
from application.unit_of_work import UnitOfWork
from domain.appointments import AppointmentStatus
from domain.bookings import BookingStatus
from domain.change_mails import MERGED, WaitingChange
from domain.errors import DomainError
from domain.ids import AppointmentId, BookingId
from domain.outbox import Delivered, Destination, Message, MessageType
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import inr
from tests.support.memory.claims import MemoryOutboxClaims, OutboxRow
from tests.support.memory.outbox import MemoryMessages
from tests.support.memory.store import Store

WINDOW, MINUTE, LEASE = timedelta(minutes=5), timedelta(minutes=1), timedelta(seconds=10)
SETTINGS: list[dict[str, Any]] = [{"title": "Yoga"}, {"title": "Pilates"}, {"location": "Hall"}, {"location": None}]
HOURS = (10, 12, 14)
CANCELLED = "cancelled"


class Crash(Exception):
    pass


class Recipients:
    """What each recipient, by ordering key, knows from the mails. A mail may arrive twice, never in another order."""

    def __init__(self, store: Store) -> None:
        self.known: dict[str, object] = {}
        self._store = store

    async def read(self, app: AppointmentApplication, *, crash: bool = False) -> None:
        """A worker delivers what is due; `crash`: it dies between the first delivery and its record."""
        claims = MemoryOutboxClaims(self._store, app.clock)
        while mails := await claims.claim(Destination.EMAIL, limit=10, lease=LEASE, probe_every=LEASE):
            for mail in mails:
                self._receive(mail)
                if crash:
                    return
                await claims.record_result(mail, Delivered(), took=LEASE, retry_in=None)

    def _receive(self, mail: Message) -> None:
        is_cancellation = mail.message_type is MessageType.BOOKING_CANCELLED
        self.known[mail.ordering_key] = CANCELLED if is_cancellation else mail.payload["shows"]


class ChangeMailSteps(RuleBasedStateMachine):
    """One event with two bookings, and one appointment."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.app = AppointmentApplication(reminder_offsets=(), change_mail_window=WINDOW)
        self.recipients = Recipients(self.app.store)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    def attempt(self, coroutine: Coroutine[Any, Any, object]) -> None:
        with suppress(DomainError):
            self.run(coroutine)

    def teardown(self) -> None:
        self.runner.close()

    @initialize()
    def begin(self) -> None:
        self.event = self.run(self.app.event(location="Hall"))
        self.facilitator = self.app.facilitator(self.event)
        self.bookings: list[BookingId] = [self.run(self.app.book(self.event)).reserved.id for _ in range(2)]
        self.coach = self.run(self.app.coach(price=inr(0)))
        self.appointment: AppointmentId = self.run(self.app.appointment(self.coach))

    @rule(which=st.integers(0, len(SETTINGS) - 1))
    def change_event(self, which: int) -> None:
        new = SETTINGS[which]
        self.attempt(self.app.update_event(self.facilitator, self.event.id, lambda old: self.app.changed(old, **new)))

    @rule(which=st.integers(0, len(HOURS) - 1), is_coach=st.booleans())
    def move_appointment(self, which: int, is_coach: bool) -> None:
        by = self.coach if is_coach else self.app.client_of(self.appointment)
        self.attempt(self.app.reschedule(by, self.appointment, at(HOURS[which]), None))

    @rule()
    def confirm_appointment(self) -> None:
        self.attempt(self.app.change_status(self.coach, self.appointment, AppointmentStatus.CONFIRMED))

    @rule(which=st.integers(0, 1))
    def pay(self, which: int) -> None:
        update = self.app.gateway.pay(self.app.payment_id(self.bookings[which]))
        self.attempt(self.app.settle(self.app.gateway.name, update))

    @rule()
    def write_to_participants(self) -> None:
        self.attempt(self.app.write_to_participants(self.facilitator, self.event.id, subject="A", text="B"))

    @rule(dice=st.integers(0, 9))
    def cancel(self, dice: int) -> None:
        if dice == 0:
            self.attempt(self.app.cancel_booking(self.app.owner(self.bookings[0]), self.bookings[0]))
        if dice == 1:
            self.attempt(self.app.cancel_event(self.facilitator, self.event.id))
        if dice == 2:
            self.attempt(self.app.cancel(self.coach, self.appointment))

    @rule(minutes=st.integers(1, 6))
    def time_passes(self, minutes: int) -> None:
        self.app.clock.advance(minutes * MINUTE)

    @rule(commits=st.integers(0, 3))
    def worker_queues(self, commits: int) -> None:
        """It dies before that commit, if it gets there."""

        @asynccontextmanager
        async def mortal() -> AsyncIterator[UnitOfWork]:
            async with self.app.open_work() as work:
                nonlocal commits
                commits -= 1
                yield work
                if commits < 0:
                    raise Crash

        with suppress(Crash):
            self.run(QueueChangeMails(mortal, self.app.wake_ups, self.app.clock)())

    @rule(crash=st.booleans())
    def worker_delivers(self, crash: bool) -> None:
        self.run(self.recipients.read(self.app, crash=crash))

    def mails_about_changes(self) -> dict[str, list[datetime]]:
        times: dict[str, list[datetime]] = {}
        rows: list[OutboxRow] = self.app.messages(*MERGED)
        for row in rows:
            if row.destination is Destination.EMAIL:
                times.setdefault(row.ordering_key, []).append(row.occurred_at)
        return times

    @invariant()
    def one_mail_in_a_window(self) -> None:
        for times in self.mails_about_changes().values():
            assert all(later - earlier >= WINDOW for earlier, later in pairwise(times))

    def at_the_end_everybody_knows_the_present_state(self) -> None:
        self.app.clock.advance(WINDOW)
        self.run(self.app.queue_change_mails())
        self.app.clock.advance(LEASE)
        self.run(self.recipients.read(self.app))
        self.app.clock.advance(LEASE)
        self.run(self.recipients.read(self.app))
        event, appointment = self.app.stored_event(self.event.id), self.app.stored(self.appointment)
        for booking_id in self.bookings:
            is_cancelled = self.app.booking(booking_id).status is BookingStatus.CANCELLED
            known = self.recipients.known[f"booking:{booking_id}"]
            assert known == (CANCELLED if is_cancelled else event.details.visible)
        for side in ("client", "coach"):
            known = self.recipients.known[f"coaching:{self.appointment}:{side}"]
            assert known == (appointment.session if appointment.is_live else CANCELLED)


class EndingSteps(ChangeMailSteps):
    def teardown(self) -> None:
        try:
            self.at_the_end_everybody_knows_the_present_state()
        finally:
            super().teardown()


FEW, MANY = 15, 1_000
EXAMPLES = settings(max_examples=MANY if os.environ.get("LONG_RUN") else FEW, stateful_step_count=30, deadline=None)


def test_last_mail_shows_the_present_state_after_any_steps() -> None:
    run_state_machine_as_test(EndingSteps, settings=EXAMPLES)


def receipt_between_a_change_and_its_undoing(steps: ChangeMailSteps) -> None:
    steps.change_event(1)
    steps.pay(0)
    steps.change_event(0)


def second_change_while_the_worker_dies(steps: ChangeMailSteps) -> None:
    steps.move_appointment(1, is_coach=True)
    steps.time_passes(5)
    steps.worker_queues(1)
    steps.move_appointment(2, is_coach=False)


def cancellation_while_a_mail_waits(steps: ChangeMailSteps) -> None:
    steps.change_event(1)
    steps.worker_delivers(crash=True)
    steps.cancel(0)


KEPT = [
    receipt_between_a_change_and_its_undoing,
    second_change_while_the_worker_dies,
    cancellation_while_a_mail_waits,
]


def _after(steps: Callable[[ChangeMailSteps], None]) -> None:
    machine = EndingSteps()
    try:
        machine.begin()
        steps(machine)
        machine.one_mail_in_a_window()
    finally:
        machine.teardown()


@pytest.mark.parametrize("kept", KEPT)
def test_kept_steps(kept: Callable[[ChangeMailSteps], None]) -> None:
    _after(kept)


def test_without_what_other_mails_have_shown_an_undone_change_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(MemoryMessages, "_shown", lambda *_: None)
    with pytest.raises(AssertionError):
        _after(receipt_between_a_change_and_its_undoing)


def test_without_the_state_before_the_first_change_a_window_has_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: no mail is ever sent."""
    monkeypatch.setattr(WaitingChange, "earlier_than", lambda *_: None)
    with pytest.raises(AssertionError):
        _after(second_change_while_the_worker_dies)
