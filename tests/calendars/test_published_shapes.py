"""What Google and Graph do by their documents that a simpler provider would not."""

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from infrastructure.calendar_providers.google import EVENTS
from tests.calendars.calendar_harness import Desk, at
from tests.support import calendar_faults as faults
from tests.support.google_calendar import FakeGoogleCalendar
from tests.support.google_calendar import refusal as google_refusal
from tests.support.outlook import FakeOutlook

DAY = timedelta(days=1)


def the_entry(desk: Desk) -> dict[str, Any]:
    [entry] = desk.calendar.live.values()
    return entry


async def moved(desk: Desk, booking_id: str, *, days: int, hour: float) -> None:
    body = {"session_datetime": at(days, hour).isoformat()}
    answer = await desk.client.post(f"/booking/{booking_id}/reschedule", body)
    assert answer.status_code == 200, answer.text


async def test_moving_an_entry_does_not_end_its_online_meeting(desk: Desk) -> None:
    """Graph keeps the way into a Teams meeting in the entry's text."""
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    await desk.run()
    link = await desk.link(booking_id)
    await moved(desk, booking_id, days=4, hour=15)
    await desk.run()
    assert desk.entries() == [(at(4, 15), at(4, 16))]
    entry = the_entry(desk)
    assert str(link) in str(entry.get("onlineMeeting") or entry.get("conferenceData"))


@pytest.mark.parametrize(("repeats", "days"), [(True, 4), (False, 90)])
async def test_an_entry_that_was_made_unheard_and_moved_since_is_still_one(
    desk: Desk, repeats: bool, days: int
) -> None:
    if isinstance(desk.calendar, FakeOutlook):
        desk.calendar.repeats = repeats
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    desk.calendar.faults.next.append(faults.lost_answer)
    await desk.run()
    await moved(desk, booking_id, days=days, hour=15)
    await desk.later()
    assert desk.entries() == [(at(days, 15), at(days, 16))]
    await desk.client.delete(f"/booking/{booking_id}")
    await desk.run()
    assert desk.entries() == []


async def test_an_entry_that_was_made_unheard_and_moved_far_away_is_taken_out(desk: Desk) -> None:
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    desk.calendar.faults.next.append(faults.lost_answer)
    await desk.run()
    await moved(desk, booking_id, days=90, hour=15)
    await desk.client.delete(f"/booking/{booking_id}")
    await desk.later()
    assert desk.entries() == []


async def test_a_company_without_meet_has_its_bookings_in_the_calendar_all_the_same(desk: Desk) -> None:
    if not isinstance(desk.calendar, FakeGoogleCalendar):
        return  # Graph leaves out a meeting that it cannot make
    desk.calendar.has_meet = False
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    await desk.run()
    assert desk.entries() == [(at(3, 10), at(3, 11))]
    assert await desk.link(booking_id) is None
    assert {status for status, _ in await desk.owed()} == {"delivered"}
    synced = await desk.sync(desk.coach, booking_id)
    assert (synced.status_code, synced.json()["meeting_link"]) == (200, None)
    await moved(desk, booking_id, days=4, hour=15)
    await desk.run()
    assert desk.entries() == [(at(4, 15), at(4, 16))]


# A private entry over one's own session


@pytest.mark.parametrize("hours", [(10, 11), (10.5, 11.5)])
async def test_a_private_entry_over_ones_own_session_is_seen(desk: Desk, hours: tuple[float, float]) -> None:
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    await desk.run()
    desk.is_busy(at(3, hours[0]), at(3, hours[1]))
    await desk.forget_freshness()
    assert await desk.parts.calendars.read_busy_times() == 1
    quarters = [at(3, quarter / 4) for quarter in range(96)]
    taken = [each for each in quarters if any(starts <= each < ends for starts, ends in await desk.busy())]
    assert taken == [each for each in quarters if at(3, hours[0]) <= each < at(3, hours[1])]
    # Where the session leaves, nobody else is put over the private entry, at once.
    if hours == (10, 11):
        await moved(desk, booking_id, days=3, hour=14)
        refused = await desk.ask_for(at(3, 10))
        assert (refused.status_code, refused.json()["detail"]) == (400, "Time slot is not available")


async def test_of_googles_entries_only_those_count_that_take_their_owners_time(desk: Desk) -> None:
    if not isinstance(desk.calendar, FakeGoogleCalendar):
        return  # Outlook's are in test_busy_times
    await desk.connect(desk.coach)
    await desk.book()
    await desk.run()
    starts, ends = ({"dateTime": at(3, hour).isoformat()} for hour in (10, 11))
    no, yes = ({"self": True, "responseStatus": status} for status in ("declined", "accepted"))
    desk.calendar.more += [
        {"id": "f1", "transparency": "transparent", "start": starts, "end": ends},
        {"id": "f2", "attendees": [no], "start": starts, "end": ends},
        {"id": "f3", "status": "cancelled", "start": starts, "end": ends},
        {"id": "f4", "start": starts, "end": starts},
    ]
    await desk.forget_freshness()
    assert await desk.parts.calendars.read_busy_times() == 1
    assert await desk.busy() == []
    day = at(3, 0).date()
    whole = {"start": {"date": day.isoformat()}, "end": {"date": (day + DAY).isoformat()}}
    desk.calendar.more += [{"id": "f5", "attendees": [yes], "start": starts, "end": ends}, {"id": "f6", **whole}]
    await desk.forget_freshness()
    assert await desk.parts.calendars.read_busy_times() == 1
    berlin = at(3, 0).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    assert await desk.busy() == [(berlin, berlin + DAY), (at(3, 10), at(3, 11))]


async def test_a_day_that_is_none_in_googles_list_breaks_no_booking(desk: Desk) -> None:
    if not isinstance(desk.calendar, FakeGoogleCalendar):
        return
    await desk.connect(desk.coach)
    await desk.book()

    async def as_ever(serve: faults.Serve, _writer: Any) -> bytes:
        return serve()

    days: list[dict[str, str]] = [{"date": "0001-01-01"}, {"date": "yesterday"}, {}]
    for odd in days:
        await desk.forget_freshness()
        said = {"timeZone": "Asia/Kolkata", "items": [{"id": "f1", "start": odd, "end": {"date": "0001-01-02"}}]}
        # freeBusy is asked five times for a year.
        desk.calendar.faults.next += [as_ever] * 5 + [faults.saying(faults.as_json(said))]
        assert await desk.parts.calendars.read_busy_times() == 0
        assert await desk.records.fetchval("SELECT last_error FROM calendar_connections") == (
            "Google Calendar tells times that are none"
        )


async def test_a_calendar_that_google_cannot_read_just_now_forgets_nothing(desk: Desk) -> None:
    if not isinstance(desk.calendar, FakeGoogleCalendar):
        return
    await desk.connect(desk.coach)
    desk.is_busy(at(3, 10), at(3, 11))
    assert await desk.parts.calendars.read_busy_times() == 1
    await desk.forget_freshness()
    error = {"domain": "global", "reason": "internalError"}
    odd = {"kind": "calendar#freeBusy", "calendars": {"primary": {"errors": [error], "busy": []}}}
    desk.calendar.faults.next.append(faults.saying(faults.as_json(odd)))
    assert await desk.parts.calendars.read_busy_times() == 0
    assert await desk.busy() == [(at(3, 10), at(3, 11))]


async def test_without_googles_permission_for_busy_times_its_entries_say_them(desk: Desk) -> None:
    """People tick permissions off one by one."""
    if not isinstance(desk.calendar, FakeGoogleCalendar):
        return  # Microsoft asks for all or nothing
    desk.calendar.grants.scope = EVENTS
    await desk.connect(desk.coach)
    await desk.book()
    await desk.run()
    for hours in ((10.5, 11.5), (14, 15)):
        desk.is_busy(at(3, hours[0]), at(3, hours[1]))
    await desk.forget_freshness()
    desk.calendar.faults.next.append(faults.saying(google_refusal(403, "insufficientPermissions")))
    assert await desk.parts.calendars.read_busy_times() == 1
    assert await desk.busy() == [(at(3, 10.5), at(3, 11.5)), (at(3, 14), at(3, 15))]


# Connecting again


async def test_connected_to_another_account_everything_ahead_is_put_in_there(desk: Desk) -> None:
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    await desk.run()
    before = dict(desk.calendar.events)
    desk.calendar.events.clear()  # another account
    if isinstance(desk.calendar, FakeOutlook):
        desk.calendar.transactions.clear()
        elsewhere = faults.as_json({"error": {"code": "ErrorInvalidMailboxItemId"}}, 400)
        desk.calendar.faults.next.append(faults.saying(elsewhere))
    await desk.connect(desk.coach)
    await desk.run()
    assert desk.entries() == [(at(3, 10), at(3, 11))]
    assert str(await desk.link(booking_id)) in str(the_entry(desk))
    assert len(before) == 1
    assert {status for status, _ in await desk.owed()} == {"delivered"}


@pytest.mark.parametrize("guarded", [True, False])
async def test_connected_to_another_account_while_an_entry_is_on_its_way_it_is_put_in_there_too(
    desk: Desk, guarded: bool
) -> None:
    """The twin does not see that the calendar was connected again, and has nothing in the new account."""
    if not guarded:
        await desk.records.execute(
            """CREATE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN NEW.connected_at = OLD.connected_at; RETURN NEW; END $$;
               CREATE TRIGGER same BEFORE UPDATE ON calendar_connections FOR EACH ROW EXECUTE FUNCTION same()"""
        )
    await desk.connect(desk.coach)
    await desk.book()

    async def connected_meanwhile(serve: faults.Serve, _writer: Any) -> bytes:
        answer = serve()
        await desk.connect(desk.coach)
        desk.calendar.events.clear()  # another account
        if isinstance(desk.calendar, FakeOutlook):
            desk.calendar.transactions.clear()
        return answer

    desk.calendar.faults.next.append(connected_meanwhile)
    await desk.run()
    await desk.run()
    assert desk.entries() == ([(at(3, 10), at(3, 11))] if guarded else [])


@pytest.mark.parametrize("guarded", [True, False])
async def test_an_older_change_that_arrives_last_does_not_stay(desk: Desk, guarded: bool) -> None:
    """Synced by hand while the worker moves it. The twin owes nothing for what has changed meanwhile."""
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    await desk.run()

    async def moved_meanwhile(serve: faults.Serve, _writer: Any) -> bytes:
        await moved(desk, booking_id, days=4, hour=15)
        await desk.run()
        assert desk.entries() == [(at(4, 15), at(4, 16))]
        if not guarded:
            await desk.records.execute(
                """CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
                   CREATE TRIGGER nothing BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION nothing()"""
            )
        return serve()

    desk.calendar.faults.next.append(moved_meanwhile)
    assert (await desk.sync(desk.coach, booking_id)).status_code == 200
    await desk.run()
    assert desk.entries() == ([(at(4, 15), at(4, 16))] if guarded else [(at(3, 10), at(3, 11))])


async def test_what_is_cancelled_before_it_was_put_in_is_never_put_in(desk: Desk) -> None:
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    await desk.client.delete(f"/booking/{booking_id}")
    await desk.run()
    assert desk.calendar.events == {}
    assert {status for status, _ in await desk.owed()} == {"delivered"}


async def test_what_was_cancelled_while_the_calendar_refused_us_is_taken_out_when_it_is_connected_again(
    desk: Desk,
) -> None:
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    stays = await desk.book(hour=12)
    await desk.run()
    assert len(desk.entries()) == 2
    await desk.records.execute("UPDATE calendar_connections SET status = 'reconnect'")
    await desk.client.delete(f"/booking/{booking_id}")
    await moved(desk, stays, days=5, hour=12)
    await desk.run()
    await desk.connect(desk.coach)
    await desk.run()
    assert desk.entries() == [(at(5, 12), at(5, 13))]


async def test_what_was_cancelled_while_no_calendar_was_connected_is_taken_out_as_well(desk: Desk) -> None:
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    await desk.run()
    assert (await desk.coach.delete(f"/calendar/{desk.provider}")).status_code == 204
    await desk.client.delete(f"/booking/{booking_id}")
    await desk.connect(desk.coach)
    await desk.run()
    assert desk.entries() == []


async def test_busy_times_of_the_account_before_are_not_kept_over_those_of_the_next(desk: Desk) -> None:
    await desk.connect(desk.coach)

    async def connected_meanwhile(serve: faults.Serve, _writer: Any) -> bytes:
        desk.is_busy(at(3, 10), at(3, 11))
        answer = serve()
        desk.calendar.foreign.clear()
        await desk.connect(desk.coach)
        return answer

    desk.calendar.faults.next.append(connected_meanwhile)
    await desk.parts.calendars.read_busy_times()
    assert await desk.busy() == []
    assert (await desk.ask_for(at(3, 10))).status_code == 201


async def test_a_calendar_whose_tokens_cannot_be_opened_can_be_disconnected(desk: Desk) -> None:
    await desk.connect(desk.coach)
    await desk.records.execute("UPDATE calendar_connections SET tokens = set_byte(tokens, 30, 0) || '\\x00'")
    assert (await desk.coach.get("/calendar/connections")).status_code == 200
    assert (await desk.coach.delete(f"/calendar/{desk.provider}")).status_code == 204
    assert (await desk.coach.get("/calendar/connections")).json() == []
