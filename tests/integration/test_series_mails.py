"""The mail about a series on real servers: what SMTP receives, and the order of later mails."""

from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from typing import Any

import asyncpg
import pytest
from icalendar import Calendar

from domain.appointments import AppointmentStatus
from infrastructure.settings import Settings
from tests.support.invariants import broken_invariants
from tests.support.reminder_harness import DAY, HOUR, ReminderHarness, reminder_harness


@pytest.fixture
async def harness(
    make_shared_settings: Callable[..., Settings], emptied_database: asyncpg.Connection
) -> AsyncIterator[ReminderHarness]:
    async with reminder_harness(make_shared_settings(), emptied_database) as harness:
        yield harness


def _entries(mail: EmailMessage) -> list[tuple[str, int, str]]:
    """UID, SEQUENCE and STATUS of each entry of the calendar file."""
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    entries: list[Any] = list(Calendar.from_ical(part.get_content()).walk("VEVENT"))
    return [(str(each["UID"]), int(each["SEQUENCE"]), str(each["STATUS"])) for each in entries]


async def test_series_is_one_mail_to_each_side_and_later_mails_change_its_entries(harness: ReminderHarness) -> None:
    client, coach = await harness.person(), await harness.coach()
    appointments = harness.parts.appointment
    series = await appointments.book_series(
        client,
        coach.uuid,
        harness.clock.now() + 7 * DAY,
        HOUR,
        "FREQ=WEEKLY;COUNT=4",
        timezone="UTC",
        notes="Career",
        skip_conflicts=False,
    )
    second = series.appointments[1].appointment
    await appointments.change_appointment_status(coach, second.id, AppointmentStatus.CONFIRMED)
    await harness.deliver()  # before the first mail was sent
    await harness.deliver()
    for person in (client, coach):
        first, then = [mail for mail in harness.inbox.mails if person.email in str(mail["To"])]
        assert len(_entries(first)) == len({uid for uid, _, _ in _entries(first)}) == 4
        assert {(sequence, status) for _, sequence, status in _entries(first)} == {(0, "TENTATIVE")}
        assert _entries(then) == [(_entries(first)[1][0], 1, "CONFIRMED")]
        body = first.get_body(("plain",))
        assert body is not None
        assert sum(line.startswith("- ") for line in body.get_content().splitlines()) == 4
    to_crm = "SELECT count(*) FROM outbox WHERE destination = 'crm' AND fact = 'booking_created'"
    assert await harness.records.fetchval(to_crm) == 4
    assert await broken_invariants(harness.records) == []
