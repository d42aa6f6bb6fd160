"""A coach and a client with a calendar at Google or Microsoft, and the worker that keeps it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from domain.outbox import Destination
from infrastructure.container import DeliveryParts
from infrastructure.settings import Settings
from tests.support.calendar_grants import BACK
from tests.support.google_calendar import FakeGoogleCalendar
from tests.support.messages import deliver_due
from tests.support.outlook import FakeOutlook
from tests.support.people import Person

FakeCalendar = FakeGoogleCalendar | FakeOutlook

ON_GOOGLE = pytest.mark.parametrize("provider", ["google"], indirect=True)
ON_OUTLOOK = pytest.mark.parametrize("provider", ["outlook"], indirect=True)


@dataclass
class CalendarHarness:
    provider: str
    calendar: FakeCalendar
    settings: Settings
    parts: DeliveryParts
    records: asyncpg.Connection
    coach: Person
    client: Person
    coach_uuid: str

    async def connect(self, person: Person) -> dict[str, Any]:
        """As a client of the API does it; answers with the tokens."""
        asked = await person.get(f"/calendar/{self.provider}/auth-url", params={"redirect_uri": BACK})
        assert asked.status_code == 200, asked.text
        code, state = self.calendar.grants.consent(asked.json()["auth_url"])
        answer = await self.exchange(person, code, state)
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def exchange(self, person: Person, code: str, state: str, back: str = BACK) -> httpx.Response:
        path = f"/calendar/{self.provider}/exchange-token"
        return await person.api.post(
            path, params={"redirect_uri": back}, headers=person.headers, json={"code": code, "state": state}
        )

    async def book(self, *, days: int = 3, hour: int = 10) -> str:
        answer = await self.ask_for(at(days, hour))
        assert answer.status_code == 201, answer.text
        booking_id: str = answer.json()["id"]
        return booking_id

    async def ask_for(self, starts: datetime) -> httpx.Response:
        body = {"coach_id": self.coach_uuid, "session_datetime": starts.isoformat(), "duration_minutes": 60}
        return await self.client.post("/booking", json=body)

    async def synced_booking(self) -> str:
        """A booking whose entry is in the connected calendar of the coach."""
        await self.connect(self.coach)
        booking_id = await self.book()
        await self.run()
        return booking_id

    async def move(self, booking_id: str, *, days: int, hour: float) -> None:
        body = {"session_datetime": at(days, hour).isoformat()}
        answer = await self.client.post(f"/booking/{booking_id}/reschedule", body)
        assert answer.status_code == 200, answer.text

    async def sync(self, person: Person, booking_id: str, **more: Any) -> httpx.Response:
        body = {"booking_id": booking_id, "calendar_type": self.provider, "timezone": "America/New_York"} | more
        return await person.post("/calendar/sync-booking", json=body)

    async def run(self) -> None:
        """The worker puts everything into calendars that is due."""
        await deliver_due(self.parts.deliver_due, Destination.CALENDAR)

    async def later(self) -> None:
        """What failed is due again, and the worker runs."""
        await self.records.execute("UPDATE outbox SET due_at = now() WHERE status = 'pending'")
        await self.run()

    async def jobs(self) -> list[tuple[str, str | None]]:
        """Status and last error of the calendar jobs."""
        rows = await self.records.fetch(
            "SELECT status, last_error FROM outbox WHERE destination = 'calendar' ORDER BY seq"
        )
        return [(row["status"], row["last_error"]) for row in rows]

    async def link(self, booking_id: str) -> str | None:
        found: str | None = await self.records.fetchval(
            "SELECT meeting_link FROM coaching_bookings WHERE id = $1", booking_id
        )
        return found

    async def busy(self) -> list[tuple[datetime, datetime]]:
        rows = await self.records.fetch("SELECT starts_at, ends_at FROM calendar_busy ORDER BY starts_at")
        return [(row["starts_at"], row["ends_at"]) for row in rows]

    def readings(self) -> int:
        """How often the busy times of the calendar were requested."""
        soon = datetime.now(UTC) + timedelta(days=1)
        parts = [each.json["timeMin"] for each in self.calendar.asked("POST", "freeBusy")]
        begun = [part for part in parts if datetime.fromisoformat(part) < soon]
        return len(begun) + len(self.calendar.asked("GET", "calendarView"))

    async def forget_freshness(self) -> None:
        """What was read of calendars was read a while ago."""
        await self.records.execute(
            "UPDATE calendar_connections SET busy_read_at = now() - interval '1 hour', busy_due_at = now()"
        )

    @contextlib.asynccontextmanager
    async def trigger(self, table: str, action: str, body: str) -> AsyncIterator[None]:
        """While this is open, the database runs `body` (PL/pgSQL) before each such action on a row of the table."""
        await self.records.execute(
            f"""CREATE FUNCTION of_a_test() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
                CREATE TRIGGER of_a_test BEFORE {action} ON {table} FOR EACH ROW EXECUTE FUNCTION of_a_test()"""
        )
        try:
            yield
        finally:
            await self.records.execute("DROP FUNCTION of_a_test CASCADE")

    def is_busy(self, starts: datetime, ends: datetime) -> None:
        """The owner of the calendar has something to do then."""
        if isinstance(self.calendar, FakeGoogleCalendar):
            self.calendar.foreign.append((starts.isoformat(), ends.isoformat()))
        else:
            self.calendar.busy(*(each.replace(tzinfo=None).isoformat() for each in (starts, ends)))

    def entry(self) -> dict[str, Any]:
        """The only entry in the calendar."""
        [entry] = self.calendar.live.values()
        return entry

    def entries(self) -> list[tuple[datetime, datetime]]:
        """When the entries in the calendar are."""
        moments = [(event["start"]["dateTime"], event["end"]["dateTime"]) for event in self.calendar.live.values()]
        return sorted((_utc(starts), _utc(ends)) for starts, ends in moments)


TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
"""Taken once, so that a test that runs over midnight has one day."""


def at(days: int, hour: float) -> datetime:
    """That many days from now, at an hour of the day in UTC."""
    return TODAY + timedelta(days=days, hours=hour)


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
