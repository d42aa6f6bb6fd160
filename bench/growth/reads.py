"""The reads that are measured, and what one of them costs."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec

from bench.growth.rows import ADMIN, FEED_TOKEN, FEW, MEMBER, Size
from tests.support.callers import Address, Caller, request

LIMIT = 10

READS: Mapping[str, tuple[str, int | None]] = {
    "events": ("/events?{page}", None),
    "events of a type": ("/events?{page}&type=retreat", None),
    "events of a category": ("/events?{page}&type=yoga", None),
    "events of a facilitator": ("/events?{page}&facilitator_id=1", None),
    "events of rated facilitators": ("/events/filter?{page}&rating=4", None),
    "events, cancelled": ("/events?{page}&active=false", None),
    "events, cancelled, of a category": ("/events?{page}&active=false&type=yoga", None),
    "events, past ones too": ("/events?{page}&active=true", None),
    "search, one of five events": ("/events?{page}&q=sound+healing", None),
    "search, one of fifty, and of a name": ("/events?{page}&q=gathering+15", None),
    "search, sixty events": ("/events?{page}&q=solstice", None),
    "search, no event": ("/events?{page}&q=nothing", None),
    "events of contract A": ("/api/events?{page}", MEMBER),
    "sessions of contract C": ("/api/sessions?{page}", MEMBER),
    "one event": ("/events/{event}", None),
    "reviews of an event": ("/events/{event}/reviews?{page}", None),
    "own events": ("/facilitator/events?{page}", 1),
    "own sessions": ("/api/facilitator/sessions?{page}", 1),
    "bookings of an event": ("/facilitator/events/{event}/bookings?{page}", 1),
    "bookings of a facilitator": ("/api/facilitator/bookings?{page}", 1),
    "dashboard": ("/api/facilitator/dashboard", 1),
    "own bookings": ("/bookings?{page}", MEMBER),
    "own bookings of contract C": ("/api/bookings/my?{page}", MEMBER),
    "one booking": ("/bookings/1", MEMBER),
    "reminders of a booking": ("/bookings/1/reminders?{page}", MEMBER),
    "coaches": ("/coaches?{page}", None),
    "appointments of a client": ("/booking/client/{client}?{page}", MEMBER),
    "appointments of a client, of a rare status": ("/booking/client/{client}?{page}&status=pending", MEMBER),
    "appointments of a coach": ("/booking/coach/{coach}?{page}", 1),
    "free slots of a coach": ("/booking/coach/{regular}/availability?start_date={day}&end_date={next_day}", None),
    "calendar feed": (f"/calendar/feed/{FEED_TOKEN}.ics", None),
    "outbox": ("/admin/outbox?{page}", ADMIN),
    "outbox of a destination": ("/admin/outbox?{page}&destination=crm", ADMIN),
    "dead letters": ("/admin/outbox?{page}&status=dead", ADMIN),
}
"""Path, and the account that asks."""

CRM_READS = {
    "notifications of the CRM": "/notifications?{page}",
    "webhooks of the CRM": "/webhooks?{page}",
    "refused webhooks of the CRM": "/webhooks?{page}&deliveries=failed",
    "events of a facilitator in the CRM": "/api/facilitator/events/1?{page}",
}
assert FEW > LIMIT


class Cost(msgspec.Struct, frozen=True):
    """Milliseconds of CPU of one request: of the process that answers, and of PostgreSQL."""

    process: float
    postgresql: float

    @property
    def total(self) -> float:
        return self.process + self.postgresql


class Reader(msgspec.Struct, frozen=True):
    """A process that answers, and the database it reads."""

    address: Address
    pid: int
    database: asyncpg.Connection
    request: bytes

    async def cost(self, number: int) -> Cost:
        """Of `number` requests, one after the other, over a connection of their own: on a busy machine the server would
        close it in the meantime."""
        caller = await Caller.connect(self.address)
        await caller(self.request)
        backends = [row["pid"] for row in await self.database.fetch(_BACKENDS)]
        before = cpu_milliseconds([self.pid]), cpu_milliseconds(backends)
        for _ in range(number):
            answer = await caller(self.request)
            if answer.status != 200:
                raise SystemExit(f"{self.request.split()[1].decode()}: {answer.status} {answer.body[:200]!r}")
        after = cpu_milliseconds([self.pid]), cpu_milliseconds(backends)
        caller.close()
        return Cost((after[0] - before[0]) / number, (after[1] - before[1]) / number)


_BACKENDS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


def cpu_milliseconds(pids: Sequence[int]) -> float:
    """Of all threads, from the scheduler, which counts nanoseconds."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[0]) for file in files) / 1e6


def bytes_of(path: str, size: Size, uuids: Mapping[str, str], *, token: str | None) -> bytes:
    """The request, for a page of `LIMIT` entries if it is of a list."""
    days = {"day": f"{size.now:%Y-%m-%d}", "next_day": f"{size.now + timedelta(days=1):%Y-%m-%d}"}
    filled = path.format(page=f"limit={LIMIT}", event=size.events, **days, **uuids)
    return request("GET", filled, token=token)
