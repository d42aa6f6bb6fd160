"""Statements that a reservation takes. The effects of each change are tested in `tests/conformance/`."""

import inspect
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from domain.appointments import Appointment, NewAppointment
from domain.money import Money
from domain.outbox import ALWAYS_SERVED, routes_for
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.load import many_users
from tests.support.machine_clock import SystemClock

HOUR = timedelta(hours=1)
DESTINATIONS = ["crm", "email", "email", "realtime"]
"""A mail for the client and one for the coach."""


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


async def test_number_of_statements_does_not_grow_with_the_appointments_added_together(office: Office) -> None:
    await office.records.execute("DELETE FROM outbox")
    counts = []
    for number in (1, 2, 5):
        new = [office.wanted() for _ in range(number)]
        with counted_statements() as statements:
            added = await office.add(*new)
        counts.append(len(statements))
        for place, appointment in enumerate(added):
            assert appointment is not None
            # The mail about a series names its first appointment.
            destinations = [each for each in DESTINATIONS if each != "email" or place == 0]
            assert await office.written(appointment) == (["created"], "booking_created", destinations, 2)
            assert len(await office.reminders(appointment)) == 2, "the client and the coach"
    assert counts[0] == 5, "the appointments, their history, messages, calendar jobs and reminders"
    assert counts[1] == counts[2] == 6, "also the mails of the series"


def test_no_other_method_writes_an_appointment() -> None:
    """Whether a use case can write an appointment, its messages or its reminders by another way."""

    def methods(port: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(port, inspect.isfunction) if name[0] != "_"}

    assert methods(Appointments) == {"add", "count_unpaid_holds", "get", "save", "end_holds"}
    assert {name for name in methods(Messages) if "appointment" in name} == {"enqueue_appointment_refunded"}
    assert not {name for name in methods(Reminders) if "appointment" in name}
