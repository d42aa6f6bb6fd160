"""The API with the guard of its booking statement taken out: it looks first and writes then, as a naive booking does.

Only tests can start it (`python -m tests.support.without_guard <fd>`). A race test that still passes against this one
proves nothing.
"""

import asyncio
import os
import socket
import sys
from dataclasses import replace
from datetime import datetime, timedelta

import uvicorn
from litestar.types import ASGIApp

from application.bookings.ports import ReservedBooking
from domain.accounts import UserId
from domain.events import EventId
from infrastructure import container
from infrastructure.postgres.bookings.seats import GUARD, RESERVE, PostgresSeatInventory
from infrastructure.settings import load_settings
from interfaces.http.app import create_litestar
from interfaces.http.error_formats import ERROR_FORMATS
from interfaces.http.middleware import RequestMiddleware

_LOOK = f"SELECT FROM events WHERE id = $1 AND {GUARD.replace('$4', '$3')}"
_TAKE_ANYWAY = RESERVE.replace(f" AND {GUARD}", "")
assert _TAKE_ANYWAY != RESERVE, "the booking statement has another shape now: take its guard out here as well"


class NaiveSeatInventory(PostgresSeatInventory):
    async def reserve(
        self,
        *,
        event_id: EventId,
        user_id: UserId,
        notes: str | None,
        now: datetime,
        hold_for: timedelta | None,
        request_id: str | None,
        unpaid_at_most: int | None = None,
    ) -> ReservedBooking | None:
        async with self._database.connection() as connection:
            free = await connection.fetchrow(_LOOK, event_id, user_id, now)
        if free is None:
            return None
        # Long enough for all callers to have looked, however the processes are scheduled.
        await asyncio.sleep(0.1)
        return await super().reserve(
            event_id=event_id,
            user_id=user_id,
            notes=notes,
            now=now,
            hold_for=hold_for,
            request_id=request_id,
            unpaid_at_most=unpaid_at_most,
        )


def create_app() -> ASGIApp:
    parts = container.build(load_settings(os.environ))
    seats = NaiveSeatInventory(parts.database, gateway="offline", reserve=_TAKE_ANYWAY)
    book_seat = replace(parts.use_cases.book_seat, seats=seats)
    parts = replace(parts, use_cases=replace(parts.use_cases, book_seat=book_seat))
    return RequestMiddleware(create_litestar(parts), ERROR_FORMATS, parts.answered)


if __name__ == "__main__":
    config = uvicorn.Config(create_app, factory=True, loop="uvloop", http="httptools", access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
