"""What a reminder's mail says of the time it was held up, and what is said of one that could not be delivered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from domain.appointments import AppointmentStatus
from domain.ids import AppointmentRef, BookingId, BookingRef
from infrastructure.postgres import migrations
from infrastructure.settings import Settings
from tests.support.reminder_harness import DAY, HOUR, MINUTE, Reminding, reminding


@pytest.fixture
async def house(make_settings: Callable[..., Settings], database: asyncpg.Connection) -> AsyncIterator[Reminding]:
    async with reminding(make_settings(), database) as house:
        yield house


QUEUED = (24, "queued", None)
SENT = (24, "sent", None)
UNDELIVERABLE = (24, "failed", "undeliverable")
DISCARDED = (24, "failed", "discarded")


async def one_in_the_post(house: Reminding) -> BookingId:
    """Somebody whose reminder was tried once, while mail was away."""
    _, booking = await house.place(DAY + MINUTE)
    await house.deliver()
    house.inbox.away = True
    await house.pass_(MINUTE)
    return booking


async def last_try_fails(house: Reminding) -> None:
    await house.deliver()


async def no_worker_lives_to_tell(house: Reminding) -> None:
    """Each that took it up was killed over it: nobody is asked to deliver it again."""
    await house.records.execute("UPDATE outbox SET attempts = $1 WHERE fact = 'booking_reminder'", house.tries)
    await house.deliver()


@pytest.mark.parametrize("end", [last_try_fails, no_worker_lives_to_tell])
async def test_one_whose_tries_are_used_up_says_so_until_it_is_sent_after_all(
    house: Reminding, end: Callable[[Reminding], Awaitable[None]]
) -> None:
    house.tries = 2
    booking = await one_in_the_post(house)
    assert (await house.rows(BookingRef(booking)))[0] == QUEUED
    await end(house)
    assert (await house.rows(BookingRef(booking)))[0] == UNDELIVERABLE
    await house.parts.use_cases.replay_message(await house.owed())
    assert (await house.rows(BookingRef(booking)))[0] == QUEUED
    house.inbox.away = False
    await house.deliver()
    assert (await house.rows(BookingRef(booking)))[0] == SENT


async def test_one_that_is_sent_again_after_the_start_is_too_late(house: Reminding) -> None:
    house.tries = 1
    booking = await one_in_the_post(house)
    house.inbox.away = False
    house.clock.moment += DAY
    await house.parts.use_cases.replay_message(await house.owed())
    await house.deliver()
    assert (await house.rows(BookingRef(booking)))[0] == (24, "skipped", "too_late")


async def test_one_that_an_operator_discards_says_so_for_good(house: Reminding) -> None:
    house.tries = 1
    booking = await one_in_the_post(house)
    await house.parts.use_cases.dead_letters.discard(await house.owed())
    assert (await house.rows(BookingRef(booking)))[0] == DISCARDED
    await house.records.execute("DELETE FROM outbox")
    assert (await house.rows(BookingRef(booking)))[0] == DISCARDED


async def test_those_from_before_a_reminder_knew_its_message_say_so_too(house: Reminding, database_url: str) -> None:
    house.tries = 1
    booking = await one_in_the_post(house)
    await asyncio.to_thread(migrations.downgrade, database_url, "0009")
    await asyncio.to_thread(migrations.upgrade, database_url)
    assert (await house.rows(BookingRef(booking)))[0] == UNDELIVERABLE


async def test_a_mail_is_written_from_what_is_true_when_it_goes(house: Reminding) -> None:
    host, person = await house.people(2, "facilitator")
    event = await house.event(host, DAY + MINUTE)
    booking = await house.book(person, event)
    await house.records.execute(
        "UPDATE bookings SET payment_status = 'pending', hold_until = $2 WHERE id = $1",
        *(booking, house.clock.now() + HOUR),
    )
    await house.deliver()
    house.clock.moment += MINUTE
    await house.queue()

    def renamed(plan: Any) -> Any:
        return replace(plan, title="Pilates", virtual_link="https://meet.example.com/pilates")

    await house.parts.use_cases.update_event(host, event, renamed)
    await house.records.execute(
        "UPDATE bookings SET payment_status = 'completed', hold_until = NULL WHERE id = $1", booking
    )
    await house.records.execute("UPDATE users SET email = 'new.address@example.com' WHERE id = $1", person.id)
    await house.deliver()
    [mail] = [mail for mail in house.inbox.mails if mail["Subject"] == "Tomorrow: Pilates"]
    body = mail.get_body(("plain",))
    assert mail["To"].addresses[0].addr_spec == "new.address@example.com"
    assert body is not None
    assert "https://meet.example.com/pilates" in body.get_content()
    assert "Pay by" not in body.get_content()


async def test_both_people_of_a_session_are_written_to_as_they_are_called_by_then(house: Reminding) -> None:
    client, coach = await house.person(), await house.coach()
    session = await house.session(client, coach, DAY + MINUTE)
    await house.parts.appointment.change_appointment_status(coach, session, AppointmentStatus.CONFIRMED)
    await house.deliver()
    house.clock.moment += MINUTE
    await house.queue()
    await house.records.execute("UPDATE users SET name = 'Mira' WHERE id = $1", coach.id)
    await house.records.execute("UPDATE users SET name = 'Ada' WHERE id = $1", client.id)
    await house.deliver()
    assert house.inbox.subjects(client)[-1] == "Tomorrow: Coaching with Mira"
    assert house.inbox.subjects(coach)[-1] == "Tomorrow: Coaching with Ada"


async def test_nobody_is_reminded_of_a_session_that_its_coach_has_completed(house: Reminding) -> None:
    client, coach = await house.person(), await house.coach()
    session = await house.session(client, coach, DAY + MINUTE)
    for status in (AppointmentStatus.CONFIRMED, AppointmentStatus.COMPLETED):
        await house.parts.appointment.change_appointment_status(coach, session, status)
    await house.pass_(MINUTE)
    assert (await house.rows(AppointmentRef(session)))[:2] == [(24, "skipped", "too_late")] * 2
