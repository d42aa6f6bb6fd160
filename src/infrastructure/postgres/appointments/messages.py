"""Outbox messages about appointments. Each payload is the state after the transaction of the change.

The CRM, live updates and the notification service get one message each. The client and the coach get one mail each,
with separate ordering keys, so that a full mailbox of one does not delay the mail of the other; a failed payment is
mailed to the client only, a dispute to the coach only. The mails about a series have one ordering key: the first one is
about all of its appointments. There is one sync job for each calendar that either has connected.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.calendars import ConnectionId
from domain.ids import AppointmentId
from domain.money import Money
from domain.outbox import NOT_TO_CLIENTS, Destination, MessageType, Routes
from domain.time import Interval
from infrastructure.postgres.calendars.identity import uid
from infrastructure.postgres.outbox import payloads

# Times for a coach are in the time zone of the coach's hours, for a client in the time zone of the profile.
_CLIENT = """jsonb_build_object('id', u.id, 'uuid', u.uuid, 'name', u.name, 'email', u.email,
    'timezone', coalesce(u.timezone, 'UTC'))"""
_COACH = """jsonb_build_object('id', f.id, 'uuid', f.uuid, 'name', f.name, 'email', f.email,
    'timezone', coalesce(h.timezone, f.timezone, 'UTC'))"""
_APPOINTMENT = f"""jsonb_build_object(
    'id', b.id, 'status', b.status, 'payment_status', b.payment_status, 'starts_at', b.starts_at, 'ends_at', b.ends_at,
    'price', b.price::text, 'currency', b.currency, 'notes', b.notes, 'meeting_link', b.meeting_link,
    'uid', {uid("coaching", "b.id")},
    'series_id', b.series_id, 'sequence', b.sequence, 'hold_until', b.hold_until, 'dispute', b.dispute,
    'created_at', b.created_at)"""

_PAYMENT = payloads.payment_of("coaching_booking_id")

APPOINTMENT = """coaching_bookings b JOIN users u ON u.id = b.client_id JOIN users f ON f.id = b.coach_id
     LEFT JOIN coaches h ON h.user_id = b.coach_id"""
"""SQL for appointments `b` with the tables that their payload needs."""


def payload(
    *, recipient: str, before: str = "NULL::jsonb", reason: str = "NULL::text", money: str = "NULL::jsonb"
) -> str:
    """SQL for the payload of an appointment of `APPOINTMENT`. `recipient`: the client or the coach."""
    return f"""jsonb_build_object('coaching', {_APPOINTMENT}, 'client', {_CLIENT}, 'coach', {_COACH},
           'recipient', {recipient}, 'before', {before}, 'reason', {reason}, 'money', {money},
           'payment', CASE WHEN {money} IS NOT NULL THEN {_PAYMENT} END)"""


_SNAPSHOT = payload(
    recipient="r.recipient",
    before="CAST(:before AS jsonb)",
    reason="CAST(:reason AS text)",
    money="CAST(:money AS jsonb)",
)
_MAIL_KEY = """CASE WHEN b.series_id IS NULL THEN 'coaching:' || b.id ELSE 'coaching_series:' || b.series_id END
    || ':' || r.recipient"""
# A mail that waits for further changes of the appointment compares with what other mails have shown.
_ENQUEUE = f"""
WITH shown AS (
    UPDATE change_mails SET shown = jsonb_build_object('starts_at', b.starts_at, 'ends_at', b.ends_at)
    FROM coaching_bookings b
    WHERE change_mails.coaching_booking_id = b.id AND b.id = ANY(CAST(:ids AS uuid[]))
      AND '{Destination.EMAIL}' = ANY(CAST(:destinations AS text[]))
)
INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
SELECT d.name, CASE WHEN r.recipient IS NULL THEN 'coaching:' || b.id ELSE {_MAIL_KEY} END,
       :fact, {_SNAPSHOT}, :request_id, :now
FROM {APPOINTMENT},
     unnest(CAST(:destinations AS text[])) AS d(name),
     LATERAL unnest(CASE WHEN d.name = '{Destination.EMAIL}' THEN CAST(:recipients AS text[]) ELSE ARRAY[NULL] END)
         AS r(recipient)
WHERE b.id = ANY(CAST(:ids AS uuid[]))
ORDER BY array_position(CAST(:ids AS uuid[]), b.id)
"""  # noqa: S608 (composed of constants)

_ENQUEUE_SERIES_MAILS = f"""
INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
SELECT '{Destination.EMAIL}', {_MAIL_KEY}, :fact, {_SNAPSHOT} || jsonb_build_object('series', (
           SELECT jsonb_agg({_APPOINTMENT} ORDER BY b.starts_at)
           FROM coaching_bookings b WHERE b.id = ANY(CAST(:ids AS uuid[])))), :request_id, :now
FROM {APPOINTMENT}, unnest(CAST(:recipients AS text[])) AS r(recipient)
WHERE b.id = (SELECT id FROM coaching_bookings WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY starts_at LIMIT 1)
"""  # noqa: S608 (composed of constants)

_ENQUEUE_CALENDAR_SYNCS = f"""
INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
SELECT '{Destination.CALENDAR}', 'calendar:' || c.id || ':' || b.id, '{MessageType.CALENDAR_OUTDATED}',
       jsonb_build_object('connection_id', c.id, 'booking_id', b.id), :request_id, :now
FROM coaching_bookings b JOIN calendar_connections c ON c.user_id IN (b.client_id, b.coach_id)
WHERE c.status = 'active' AND """  # noqa: S608 (composed of constants)

_ENQUEUE_REVOKED = f"""
INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
SELECT d.name, 'calendar:' || c.id, '{MessageType.CALENDAR_REVOKED}',
       jsonb_build_object('person', {_CLIENT}, 'provider', c.provider), :request_id, :now
FROM calendar_connections c JOIN users u ON u.id = c.user_id, unnest(CAST(:destinations AS text[])) AS d(name)
WHERE c.id = :id
"""  # noqa: S608 (composed of constants)


async def enqueue_for_appointments(
    session: AsyncSession,
    when: dict[str, Any],
    message_type: MessageType,
    appointments: Sequence[AppointmentId],
    destinations: Collection[Destination],
    *,
    before: Interval | None = None,
    reason: str | None = None,
    money: Money | None = None,
) -> None:
    """Several appointments are those of a new series, with one mail to each side."""
    is_series, is_mailed = len(appointments) > 1, Destination.EMAIL in destinations
    values = {
        "ids": appointments,
        "fact": message_type,
        "destinations": [str(each) for each in destinations if not (is_series and each is Destination.EMAIL)],
        "recipients": _recipients(message_type),
        "before": payloads.interval_json(before),
        "reason": reason,
        "money": payloads.money_json(money),
    }
    await session.execute(text(_ENQUEUE), {**when, **values})
    if is_series and is_mailed:
        await session.execute(text(_ENQUEUE_SERIES_MAILS), {**when, **values})


async def enqueue_calendar_syncs_of(
    session: AsyncSession, when: dict[str, Any], appointments: Sequence[AppointmentId]
) -> None:
    them = "b.id = ANY(CAST(:ids AS uuid[])) ORDER BY array_position(CAST(:ids AS uuid[]), b.id)"
    await session.execute(text(f"{_ENQUEUE_CALENDAR_SYNCS} {them}"), {**when, "ids": appointments})


async def enqueue_calendar_syncs_for(session: AsyncSession, when: dict[str, Any], user_id: UserId) -> None:
    """Enqueues jobs for a calendar that was just connected, one for every future booking. Cancelled bookings are
    included, because their entries may exist from an earlier connection."""
    ahead = "b.ends_at > :now AND b.status <> 'completed' AND c.user_id = :user_id"
    await session.execute(text(f"{_ENQUEUE_CALENDAR_SYNCS} {ahead}"), {**when, "user_id": user_id})


async def enqueue_calendar_revoked(
    session: AsyncSession, routes: Routes, when: dict[str, Any], connection_id: ConnectionId
) -> None:
    destinations = [str(destination) for destination in routes[MessageType.CALENDAR_REVOKED]]
    await session.execute(text(_ENQUEUE_REVOKED), {**when, "id": connection_id, "destinations": destinations})


def _recipients(message_type: MessageType) -> list[str]:
    if message_type is MessageType.PAYMENT_FAILED:
        return ["client"]
    return ["coach"] if message_type in NOT_TO_CLIENTS else ["client", "coach"]
