"""Radicale, a calendar server that people really use, as a process of its own (CalDAV, RFC 4791)."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import httpx
from icalendar import Calendar, Component

from tests.support.servers import free_port

_COLLECTION = "/ada/bookings/"
_MAKE = """<?xml version="1.0"?><C:mkcalendar xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
<D:set><D:prop><D:displayname>Bookings</D:displayname></D:prop></D:set></C:mkcalendar>"""
_BETWEEN = """<?xml version="1.0"?><C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
<D:prop><C:calendar-data/></D:prop><C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">
<C:time-range start="{start:%Y%m%dT%H%M%SZ}" end="{end:%Y%m%dT%H%M%SZ}"/>
</C:comp-filter></C:comp-filter></C:filter></C:calendar-query>"""
_DATA = re.compile(r"<(?:\w+:)?calendar-data[^>]*>(.*?)</(?:\w+:)?calendar-data>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CalendarServer:
    client: httpx.AsyncClient

    async def put(self, uid: str, entry: Component) -> None:
        """As a program puts one entry of a feed; over what is there under that UID."""
        calendar = Calendar()
        calendar.add("VERSION", "2.0")
        calendar.add("PRODID", "-//A calendar program//EN")
        calendar.add_component(entry)
        headers = {"Content-Type": "text/calendar; charset=utf-8"}
        answer = await self.client.put(f"{_COLLECTION}{uid}.ics", content=calendar.to_ical(), headers=headers)
        assert answer.status_code in {201, 204}, answer.text

    async def between(self, start: datetime, end: datetime) -> dict[str, Component]:
        """What the server finds in that time, by UID."""
        query = _BETWEEN.format(start=start.astimezone(UTC), end=end.astimezone(UTC))
        headers = {"Depth": "1", "Content-Type": "application/xml"}
        answer = await self.client.request("REPORT", _COLLECTION, content=query.encode(), headers=headers)
        assert answer.status_code == 207, answer.text
        calendars = [Calendar.from_ical(unescape(text)) for text in _DATA.findall(answer.text)]
        return {str(entry["UID"]): entry for calendar in calendars for entry in calendar.walk("VEVENT")}


@contextlib.asynccontextmanager
async def running_calendar_server(directory: Path) -> AsyncIterator[CalendarServer]:
    port = free_port()
    options = {
        "server-hosts": f"127.0.0.1:{port}",
        "storage-filesystem-folder": str(directory / "collections"),
        "auth-type": "none",
        "logging-level": "warning",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "radicale", "--config", "", *arguments)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", auth=("ada", "ada"), timeout=20) as client:
            async with asyncio.timeout(30):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        answer = await client.request("MKCALENDAR", _COLLECTION, content=_MAKE)
                        assert answer.status_code == 201, answer.text
                        break
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
            yield CalendarServer(client)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
