"""Saving an appointment writes everything that follows from its change, in every use case."""

import inspect
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from application.appointments.ports import Appointments
from application.notifications.ports import Reminders
from application.outbox.ports import Messages
from domain.accounts import UserId
from domain.appointments import Appointment, AppointmentCancelReason, AppointmentStatus, NewAppointment
from domain.money import Money
from domain.outbox import ALWAYS_SERVED, routes_for
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure.clock import SystemClock
from infrastructure.postgres.domain_events import UnrecordedChange
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.domain.test_appointment_changes import TRANSITIONS
from tests.support.load import many_users

HOUR = timedelta(hours=1)
DESTINATIONS = ["crm", "email", "email", "realtime"]
"""A mail for the client and one for the coach."""

EXPECTED: dict[str, tuple[str, str | None, list[str], int, bool]] = {
    # transition: entry of the history, message, destinations, calendar jobs, whether reminders change
    "booked": ("created", "booking_created", DESTINATIONS, 2, True),
    "confirmed": ("confirmed", "booking_confirmed", DESTINATIONS, 2, False),
    "completed": ("completed", "booking_completed", ["crm"], 0, False),
    "cancelled": ("cancelled", "booking_cancelled", DESTINATIONS, 2, True),
    "rescheduled_by_coach": ("rescheduled", "booking_rescheduled", DESTINATIONS, 2, True),
    "rescheduled_by_client": ("rescheduled", "booking_rescheduled", DESTINATIONS, 2, True),
    "with_notes": ("notes_changed", None, [], 0, False),
    "with_meeting_link": ("linked", None, [], 2, False),
    "with_attachment": ("attachment_added", None, [], 0, False),
    "without_attachment": ("attachment_removed", None, [], 0, False),
    "paid": ("paid", "payment_completed", DESTINATIONS, 2, False),
    "payment_failed": ("payment_failed", "payment_failed", ["crm", "email", "realtime"], 0, False),
    "reinstated": ("reinstated", "payment_completed", DESTINATIONS, 2, True),
    "refunded": ("refunded", None, [], 0, False),
}


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The statements of units of work, as they are sent."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@dataclass(frozen=True)
class Office:
    """A coach and a client, each with a connected calendar. Every appointment has a week of its own."""

    open_work: UnitsOfWork
    records: asyncpg.Connection
    coach: UserId
    client: UserId
    weeks: "count[int]"

    def wanted(self) -> NewAppointment:
        now = SystemClock().now().replace(microsecond=0)
        starts_at = now + timedelta(weeks=next(self.weeks))
        session = Interval(starts_at, starts_at + HOUR)
        return NewAppointment(
            client_id=self.client,
            coach_id=self.coach,
            session=session,
            busy=session,
            price=Money.from_minor_units(4000, "INR"),
            refund_policy=RefundPolicy(),
            notes=None,
            hold_until=None,
        )

    async def add(self, *new: NewAppointment) -> Sequence[Appointment | None]:
        async with self.open_work() as work:
            added = await work.appointments.add(new, SystemClock().now().replace(microsecond=0))
            await work.commit()
        return added

    async def booked(self) -> Appointment:
        [appointment] = await self.add(self.wanted())
        assert appointment is not None
        return appointment

    async def before(self, transition: str) -> Appointment:
        """An appointment that the transition can change, about which nothing has been written yet."""
        appointment = await self.booked()
        status = {"completed": "confirmed", "reinstated": "cancelled"}.get(transition, "pending")
        await self.records.execute(
            """UPDATE coaching_bookings SET status = $2, cancelled_at = CASE WHEN $2 = 'cancelled' THEN now() END
               WHERE id = $1""",
            appointment.id,
            status,
        )
        await self.records.execute("DELETE FROM coaching_changes WHERE booking_id = $1", appointment.id)
        await self.records.execute("DELETE FROM outbox")
        if transition == "reinstated":
            await self.records.execute("DELETE FROM reminders WHERE coaching_booking_id = $1", appointment.id)
        return appointment

    async def reminders(self, appointment: Appointment) -> set[tuple[object, ...]]:
        found = await self.records.fetch(
            "SELECT user_id, starts_at, status FROM reminders WHERE coaching_booking_id = $1", appointment.id
        )
        return {tuple(row) for row in found}

    async def written(self, appointment: Appointment) -> tuple[list[str], str | None, list[str], int]:
        history = await self.records.fetch("SELECT change FROM coaching_changes WHERE booking_id = $1", appointment.id)
        messages = await self.records.fetch(
            """SELECT fact, destination FROM outbox WHERE snapshot -> 'coaching' ->> 'id' = $1::text
               ORDER BY destination""",
            str(appointment.id),
        )
        jobs = await self.records.fetchval(
            "SELECT count(*) FROM outbox WHERE destination = 'calendar' AND snapshot ->> 'booking_id' = $1::text",
            str(appointment.id),
        )
        kinds = {row["fact"] for row in messages}
        assert len(kinds) <= 1
        destinations = [row["destination"] for row in messages]
        return [row["change"] for row in history], next(iter(kinds), None), destinations, jobs


@pytest.fixture(scope="module")
async def office(shared_database_url: str, shared_database: asyncpg.Connection) -> AsyncIterator[Office]:
    (coach,) = await many_users(shared_database, 1, role="facilitator")
    (client,) = await many_users(shared_database, 1)
    for person in (coach, client):
        await shared_database.execute(
            """INSERT INTO calendar_connections (user_id, provider, status, tokens, expires_at, connected_at)
               VALUES ($1, 'google', 'active', '', now(), now())""",
            person.id,
        )
    database = Database(shared_database_url)
    units = UnitsOfWork(
        database, routes_for(ALWAYS_SERVED), SystemClock(), lambda: None, reminder_offsets=(timedelta(days=1), HOUR)
    )
    yield Office(units, shared_database, UserId(coach.id), UserId(client.id), count(2))
    await database.close()


def test_every_transition_has_an_expectation() -> None:
    assert set(EXPECTED) == set(TRANSITIONS)


@pytest.mark.parametrize("transition", EXPECTED)
async def test_saving_writes_every_effect(office: Office, transition: str) -> None:
    change, message, destinations, jobs, reminders_change = EXPECTED[transition]
    if transition == "booked":
        await office.records.execute("DELETE FROM outbox")
        appointment, earlier = await office.booked(), set()
    else:
        appointment = await office.before(transition)
        earlier = await office.reminders(appointment)
        async with office.open_work() as work:
            changed = _applied(transition, await work.appointments.get(appointment.id))
            await work.appointments.save(changed)
            await work.commit()
        async with office.open_work() as work:
            assert await work.appointments.get(appointment.id) == changed
    assert await office.written(appointment) == ([change], message, destinations, jobs)
    assert (await office.reminders(appointment) != earlier) is reminders_change


def _applied(transition: str, appointment: Appointment) -> Appointment:
    if transition.startswith("rescheduled"):
        later = Interval(appointment.session.starts_at + HOUR, appointment.session.ends_at + HOUR)
        now, by = appointment.updated_at, appointment.client_id
        return getattr(appointment, transition)(later, later, now, by=by)  # type: ignore[no-any-return]
    return TRANSITIONS[transition][1](appointment)


async def test_appointments_added_together_take_as_many_statements_as_one(office: Office) -> None:
    await office.records.execute("DELETE FROM outbox")
    counts = []
    for number in (1, 5):
        new = [office.wanted() for _ in range(number)]
        with counted_statements() as statements:
            added = await office.add(*new)
        counts.append(len(statements))
        for appointment in added:
            assert appointment is not None
            assert await office.written(appointment) == (["created"], "booking_created", DESTINATIONS, 2)
            assert len(await office.reminders(appointment)) == 2, "the client and the coach"
    assert counts[0] == counts[1] == 5, "the appointments, their history, messages, calendar jobs and reminders"


async def test_appointments_added_together_omit_those_whose_time_is_taken(office: Office) -> None:
    first, second, third = (office.wanted() for _ in range(3))
    await office.add(second)
    again = replace(third, session=Interval(third.session.starts_at + HOUR / 2, third.session.ends_at + HOUR / 2))
    again = replace(again, busy=again.session)
    one, two, three, four = await office.add(first, second, third, again)
    assert (one and one.session, two, three and three.session, four) == (first.session, None, third.session, None)


async def test_appointment_changed_without_a_transition_cannot_be_saved(office: Office) -> None:
    appointment = await office.before("cancelled")
    async with office.open_work() as work:
        loaded = await work.appointments.get(appointment.id)
        reason = AppointmentCancelReason.BY_PERSON
        cancelled = loaded.cancelled(loaded.updated_at, reason, by=loaded.client_id)
        for changed in (loaded, replace(loaded, status=AppointmentStatus.CANCELLED), replace(cancelled, notes="More")):
            with pytest.raises(UnrecordedChange):
                await work.appointments.save(changed)
    assert await office.written(appointment) == ([], None, [], 0)


async def test_domain_event_is_written_once(office: Office) -> None:
    appointment = await office.before("cancelled")
    async with office.open_work() as work:
        loaded = await work.appointments.get(appointment.id)
        cancelled = loaded.cancelled(loaded.updated_at, AppointmentCancelReason.BY_PERSON, by=loaded.client_id)
        await work.appointments.save(cancelled)
        with pytest.raises(UnrecordedChange):
            await work.appointments.save(cancelled)
        await work.appointments.save(cancelled.refunded(loaded.updated_at))
        await work.commit()
    history, message, destinations, jobs = await office.written(appointment)
    assert (history, message, destinations, jobs) == (["cancelled", "refunded"], "booking_cancelled", DESTINATIONS, 2)


def test_no_other_method_writes_an_appointment() -> None:
    """Whether a use case can write an appointment, its messages or its reminders by another way."""

    def methods(port: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(port, inspect.isfunction) if name[0] != "_"}

    assert methods(Appointments) == {"add", "count_unpaid_holds", "get", "save", "end_holds"}
    assert {name for name in methods(Messages) if "appointment" in name} == {"enqueue_appointment_refunded"}
    assert not {name for name in methods(Reminders) if "appointment" in name}
