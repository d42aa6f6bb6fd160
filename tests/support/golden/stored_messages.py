"""The outbox after a walk through the API: for each message the name of its queue and the fields of its content.

A worker of the version before reads these rows during an update, so they are a format too.
"""

import re
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec

from interfaces.http.app import create_app
from tests.support.appointments import at, books, uuid_of
from tests.support.golden.json_types import flat, types_of
from tests.support.http import serving
from tests.support.people import People, event
from tests.support.settings import settings_for

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def booking_api(dsn: str, data: Path) -> list[dict[str, Any]]:
    """Messages whose content has the same fields are together."""
    settings = settings_for(dsn, "redis://127.0.0.1:1", data, notification_service_url="http://127.0.0.1:1")
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address, timeout=20) as client:
        await _walk(People(client))
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT fact, destination, lane AS queue, snapshot FROM outbox ORDER BY seq")
    finally:
        await connection.close()
    contents: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        queue = re.sub(r"\d+", "N", _UUID.sub("UUID", row["queue"]))
        fields = contents.setdefault(f"{row['fact']} to {row['destination']} in {queue}", {})
        for name, kind in flat(types_of(msgspec.json.decode(row["snapshot"]))):
            fields.setdefault(name, set()).add(kind)
    together: dict[str, dict[str, Any]] = {}
    for message, fields in sorted(contents.items()):
        written = {name: " or ".join(sorted(kinds)) for name, kinds in sorted(fields.items())}
        together.setdefault(repr(written), {"of": [], "fields": written})["of"].append(message)
    return list(together.values())


async def _walk(people: People) -> None:
    """Bookings, their changes, payments and refunds; an event's changes, its invitation and message; appointments."""
    john, ada, grace = await people.facilitator(), await people.user(), await people.user("Grace Hopper")
    event_id = (await john.creates_event())["id"]
    cancelled, paid = await ada.books(event_id), await grace.books(event_id)
    answers = [
        await ada.post(f"/bookings/{cancelled['id']}/cancel"),
        await john.post(f"/facilitator/bookings/{paid['id']}/payment", {"amount": 30}),
        await john.put(f"/events/{event_id}", event(in_days=8)),
        await john.post(f"/facilitator/events/{event_id}/messages", {"subject": "Mats", "text": "Bring one."}),
        await john.post(f"/facilitator/events/{event_id}/bookings", {"name": "Eve", "email": "eve@example.com"}),
        await john.post(f"/facilitator/cancel/{event_id}"),
    ]
    coach = await uuid_of(john)
    appointment = (await books(ada, coach, at(9)))["id"]
    later = at(11).strftime("%Y-%m-%dT%H:%M:%SZ")
    answers += [
        await john.patch(f"/booking/{appointment}/status", {"status": "confirmed"}),
        await ada.post(f"/booking/{appointment}/reschedule", {"session_datetime": later}),
        await ada.delete(f"/booking/{appointment}"),
    ]
    refused = [f"{answer.request.method} {answer.request.url}: {answer.text}" for answer in answers if answer.is_error]
    assert not refused, refused
