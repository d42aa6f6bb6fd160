"""Mails about changes that wait for further changes, in PostgreSQL.

A change and the end of its wait lock the event or the appointment, so each sees what the other has committed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from application.notifications.ports import ChangedRef
from domain.appointments import Appointment, AppointmentEvent
from domain.change_mails import WaitingChange, due_at
from domain.events import Event, EventChanged, EventId, VisibleDetails
from domain.ids import AppointmentId, BookingId
from domain.time import Interval
from infrastructure.postgres.outbox.payloads import details_json, interval_json
from infrastructure.postgres.outbox.writer import PostgresMessages

# A waiting mail keeps the state before the first change. It is due as early as any of its changes demands.
_KEEP_WAITING = """DO UPDATE SET
    due_at = least(waiting.due_at, excluded.due_at), reason = coalesce(excluded.reason, waiting.reason),
    request_id = excluded.request_id"""
_ADD_FOR_EVENT = f"""
INSERT INTO change_mails AS waiting (booking_id, before, reason, request_id, since, due_at)
SELECT id, CAST(:before AS jsonb), :reason, :request_id, :now, :due_at FROM bookings
WHERE event_id = :event_id AND status = 'confirmed'
ORDER BY id
ON CONFLICT (booking_id) {_KEEP_WAITING}
"""  # noqa: S608 (composed of constants)
_ADD_FOR_APPOINTMENT = f"""
INSERT INTO change_mails AS waiting (coaching_booking_id, before, reason, request_id, since, due_at)
VALUES (:id, CAST(:before AS jsonb), :reason, :request_id, :now, :due_at)
ON CONFLICT (coaching_booking_id) {_KEEP_WAITING}
"""  # noqa: S608 (composed of constants)

# The events and appointments with a mail that is due, the one that has waited longest first.
_DUE = """
SELECT event_id, coaching_booking_id FROM (
    SELECT b.event_id, waiting.coaching_booking_id, waiting.due_at
    FROM change_mails waiting LEFT JOIN bookings b ON b.id = waiting.booking_id
    WHERE waiting.due_at <= :now
    ORDER BY waiting.due_at LIMIT :most) due
GROUP BY event_id, coaching_booking_id ORDER BY min(due_at)
"""

# A reminder is rendered when it is sent, so it may have shown a state between two changes.
_REMINDED = """EXISTS (
    SELECT FROM reminders r WHERE r.{column} = waiting.{column} AND r.status = 'sent' AND r.settled_at >= waiting.since
) AS reminded"""
_TAKE_FOR_EVENT = f"""
WITH taken AS (
    DELETE FROM change_mails waiting USING bookings b
    WHERE b.id = waiting.booking_id AND b.event_id = :event_id AND waiting.due_at <= :now
    RETURNING b.id, b.status, waiting.before, waiting.shown, waiting.reason, waiting.request_id,
        {_REMINDED.format(column="booking_id")}
)
SELECT before, shown, reminded, reason, request_id, array_agg(id ORDER BY id) AS bookings FROM taken
WHERE status = 'confirmed' GROUP BY before, shown, reminded, reason, request_id ORDER BY min(id)
"""  # noqa: S608 (composed of constants)
_TAKE_FOR_APPOINTMENT = f"""
DELETE FROM change_mails waiting WHERE coaching_booking_id = :id AND due_at <= :now
RETURNING before, shown, reason, request_id, {_REMINDED.format(column="coaching_booking_id")}
"""  # noqa: S608 (composed of constants)


class PostgresChangeMails:
    def __init__(
        self,
        session: AsyncSession,
        messages: PostgresMessages,
        *,
        window: timedelta,
        now: datetime,
        request_id: str | None,
    ) -> None:
        self._session = session
        self._messages = messages
        self._window = window
        self._now = now
        self._request_id = request_id

    async def add_for_event(self, change: EventChanged) -> None:
        """For each confirmed booking, when a change of its event is saved."""
        before, after = change.before, change.after
        if before is None:
            return
        starts = (before.details.interval.starts_at, after.details.interval.starts_at)
        about = {"event_id": after.id, "before": details_json(before.details.visible)}
        await self._add(_ADD_FOR_EVENT, *starts, reason=change.reason, **about)
        await self.queue_for_event(after)

    async def add_for_appointment(self, change: AppointmentEvent) -> None:
        """When an appointment that was rescheduled is saved."""
        before, after = change.before, change.after
        if before is None:
            return
        starts = (before.session.starts_at, after.session.starts_at)
        about = {"id": after.id, "before": interval_json(before.session)}
        await self._add(_ADD_FOR_APPOINTMENT, *starts, reason=change.reason, **about)
        await self.queue_for_appointment(after)

    async def _add(self, statement: str, *starts: datetime, **about: Any) -> None:
        due = due_at(self._now, self._window, *starts)
        when = {"now": self._now, "due_at": due, "request_id": self._request_id}
        await self._session.execute(text(statement), {**when, **about})

    async def find_due(self, now: datetime, *, limit: int) -> Sequence[ChangedRef]:
        rows = await self._session.execute(text(_DUE), {"now": now, "most": limit})
        return [
            AppointmentId(row["coaching_booking_id"]) if row["event_id"] is None else EventId(row["event_id"])
            for row in rows.mappings()
        ]

    async def queue_for_event(self, event: Event) -> None:
        taken = await self._session.execute(text(_TAKE_FOR_EVENT), {"event_id": event.id, "now": self._now})
        for row in taken.mappings().all():
            shown = None if row["shown"] is None else _details(row["shown"])
            waiting = WaitingChange(_details(row["before"]), shown, reminded=row["reminded"])
            before = waiting.earlier_than(event.details.visible)
            if before is not None:
                bookings = [BookingId(each) for each in row["bookings"]]
                await self._messages.enqueue_event_changed(
                    bookings, before=before, reason=row["reason"], request_id=row["request_id"]
                )

    async def queue_for_appointment(self, appointment: Appointment) -> None:
        values = {"id": appointment.id, "now": self._now}
        row = (await self._session.execute(text(_TAKE_FOR_APPOINTMENT), values)).mappings().first()
        if row is None or not appointment.is_live:
            return
        shown = None if row["shown"] is None else _interval(row["shown"])
        waiting = WaitingChange(_interval(row["before"]), shown, reminded=row["reminded"])
        before = waiting.earlier_than(appointment.session)
        if before is not None:
            await self._messages.enqueue_appointment_moved(
                appointment.id, before=before, reason=row["reason"], request_id=row["request_id"]
            )


def _interval(stored: dict[str, str]) -> Interval:
    return Interval(datetime.fromisoformat(stored["starts_at"]), datetime.fromisoformat(stored["ends_at"]))


def _details(stored: dict[str, Any]) -> VisibleDetails:
    return VisibleDetails(stored["title"], _interval(stored), stored["location"], stored["virtual_link"])
