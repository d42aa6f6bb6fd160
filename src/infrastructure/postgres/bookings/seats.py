"""Reservation of a seat in one statement, which is the most frequent write under load.

One round trip keeps the lock on the event's row as short as possible. The conditions are the rule of
`domain.events.Event.refuse_booking`; the CHECK `never_oversold` and the index `uq_bookings_one_live_place` enforce it
independently of this statement. docs/decisions/0001 has the reasons for one statement instead of several.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg
import msgspec

from application.bookings.ports import ReservedBooking
from application.idempotency import CLAIM
from domain.accounts import UserId
from domain.events import Event, EventId
from domain.ids import BookingId
from domain.outbox import ALWAYS_SERVED, Destination, MessageType, routes_for
from domain.payments import PaymentId, PaymentStatus
from infrastructure.postgres.constraints import domain_errors
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.repository import event_of_record
from infrastructure.postgres.idempotency import require_claim
from infrastructure.postgres.outbox import payloads

# The account has the column `is_active`. A statement that waits for the event's row reads the account as of before the
# wait, but the row as of after it; therefore the row has a copy, `facilitator_active`. The subquery is scalar, because
# an EXISTS becomes a join, which a plan made for small tables may start from the wrong table.
_GUARD = """status = 'active' AND hidden_at IS NULL AND starts_at > {now} AND booked < capacity AND facilitator_active
      AND (SELECT is_active FROM users WHERE users.id = facilitator_id)
      AND NOT EXISTS (SELECT FROM bookings WHERE event_id = $1 AND user_id = {user} AND status <> 'cancelled')"""

_UNDER_KEY = """claim AS (
    SELECT true FROM idempotency_keys WHERE owner = $9 AND key = $10 AND runner = $11 FOR UPDATE
), """

_SAID = """
, placed AS ({}), said AS (
    UPDATE idempotency_keys SET committed = true, made = to_jsonb(placed) || jsonb_build_object('user_id', $2)
    FROM placed WHERE owner = $9 AND key = $10
)
SELECT * FROM placed
"""


def guard(*, user: str, now: str) -> str:
    """The condition for a seat in event `$1`."""
    return _GUARD.format(user=user, now=now)


def booking_insert(*, user: str, notes: str, now: str, hold_for: str, rows: str) -> str:
    """Adds a booking for each of `rows`, which have the columns of the event `e`."""
    return f"""
    INSERT INTO bookings (event_id, user_id, status, payment_status, notes, created_at, hold_until,
                          price, currency, refund_policy, schedule_revision, facilitator_id)
    SELECT e.id, {user}, 'confirmed', CASE WHEN e.price = 0 THEN 'not_required' ELSE 'pending' END, {notes}, {now},
           CASE WHEN e.price > 0 AND {hold_for}::interval IS NOT NULL
                THEN least({now}::timestamptz + {hold_for}::interval, e.starts_at) END,
           e.price, e.currency, e.refund_policy, e.schedule_revision, e.facilitator_id
    FROM {rows}
    RETURNING *
"""  # noqa: S608 (composed of constants)


def follow_ups(
    destinations: Iterable[Destination],
    remind_before: Sequence[timedelta],
    *,
    request_id: str,
    gateway: str,
    event: str = "e",
) -> str:
    """Common table expressions for what is written with each new booking `b`: payment, messages, reminders. `event` is
    an item of FROM with the event `e` after that booking."""
    return f"""asked AS (
    INSERT INTO payments (booking_id, gateway, amount, currency, status, created_at)
    SELECT b.id, {gateway}, e.price, e.currency, 'pending', b.created_at FROM b, {event} WHERE e.price > 0
    RETURNING id, booking_id
), enqueued AS (
    INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
    SELECT d.name, s.lane || {payloads.FOR_RECIPIENT}, '{MessageType.BOOKING_CREATED}',
           s.snapshot || {payloads.RECIPIENT}, s.request_id, s.occurred_at
    FROM (
        SELECT {payloads.BOOKING_ORDERING_KEY} AS lane, {request_id} AS request_id, b.created_at AS occurred_at,
               {payloads.booking_payload(agreed=payloads.AGREED_NOW)} AS snapshot,
               {payloads.MAIL_LIMITED} AS mail_limited
        FROM b, {event}, users u, users f
        WHERE u.id = b.user_id AND f.id = e.facilitator_id
        OFFSET 0 -- composes each payload once, and not for each destination
    ) s, {payloads.destinations(destinations, facilitator=True)}
    WHERE d.recipient IS NULL OR s.mail_limited
){_reminded(remind_before, event)}"""  # noqa: S608 (composed of constants)


def _reminded(remind_before: Sequence[timedelta], event: str) -> str:
    if not remind_before:
        return ""
    offsets = ", ".join(f"interval '{offset.total_seconds():.0f} s'" for offset in remind_before)
    return f""", reminded AS (
    INSERT INTO reminders (booking_id, user_id, "before", starts_at, due_at)
    SELECT b.id, b.user_id, o, e.starts_at, e.starts_at - o FROM b, {event}, unnest(ARRAY[{offsets}]) AS o
    WHERE e.starts_at - o > b.created_at
)"""  # noqa: S608 (composed of constants)


def placed(event: str = "e", *, also: str = "") -> str:
    """The new bookings as `ReservedBooking` has them, and more columns."""
    return f"""
SELECT b.id, b.reference, b.payment_status, b.notes, b.created_at, u.name AS user_name, u.email AS user_email,
       b.hold_until, e.id AS event_id, e.title AS event_title, e.facilitator_id, e.price, e.currency,
       asked.id AS payment_id{also}
FROM b LEFT JOIN asked ON asked.booking_id = b.id, {event}, users u WHERE u.id = b.user_id
"""  # noqa: S608 (composed of constants)


GUARD = guard(user="$2", now="$4")
UNDER_LIMIT = "unpaid_holds($2) < $8"


def reserve_statement(
    destinations: Iterable[Destination], remind_before: Sequence[timedelta] = (), *, under_key: bool = False
) -> str:
    """The booking statement. It enqueues messages to these destinations, and plans reminders at these offsets before
    the start.

    Its parameters: event, user, notes, now, request id, gateway, the maximum hold of an unpaid seat (it ends at the
    start at the latest, `domain.payments.hold_end`), and the maximum number of unpaid holds of the user including this
    one (null: no limit). Price, refund policy and schedule revision are copied from the event's row to the booking.

    `under_key` is for requests with an idempotency key. The statement then has the parameters owner, key and runner as
    well, and reserves a seat only while the claim is valid: it locks the key's row before the event's row, and stores
    the result in the key's row.

    `account` is read before the event's row is locked. For a booking that will be an unpaid hold, `unpaid_holds` waits
    for other such bookings of the same account and then counts with a new snapshot (migration 0013). The event's price
    was read before the wait: if the event became free or priced meanwhile, the statement reserves no seat, and the
    caller tries again.
    """
    statement = f"""
WITH {_UNDER_KEY if under_key else ""}account AS MATERIALIZED (
    SELECT price = 0 AS is_free, CASE WHEN price = 0 OR $8::int IS NULL THEN true ELSE {UNDER_LIMIT} END AS may_hold
    FROM events {", claim" if under_key else ""}
    WHERE id = $1 AND {GUARD}
), e AS (
    UPDATE events SET booked = booked + 1, version = version + 1 FROM account
    WHERE id = $1 AND {GUARD} AND may_hold AND (price = 0) = is_free
    RETURNING events.*
), b AS ({booking_insert(user="$2", notes="$3", now="$4", hold_for="$7", rows="e")}
), {follow_ups(destinations, remind_before, request_id="$5", gateway="$6")}
"""  # noqa: S608 (composed of constants)
    if under_key:
        return statement + _SAID.format(placed())
    return statement + placed()


RESERVE = reserve_statement(routes_for(ALWAYS_SERVED)[MessageType.BOOKING_CREATED])
RESERVE_UNDER_KEY = reserve_statement(routes_for(ALWAYS_SERVED)[MessageType.BOOKING_CREATED], under_key=True)


class PostgresSeatInventory:
    def __init__(
        self, database: Database, *, gateway: str, reserve: str = RESERVE, reserve_under_key: str = RESERVE_UNDER_KEY
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._reserve = reserve
        self._reserve_under_key = reserve_under_key

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
        claim = CLAIM.get()
        if claim is not None and claim.made is not None:
            return msgspec.json.decode(claim.made, type=ReservedBooking)
        given = (event_id, user_id, notes, now, request_id, self._gateway, hold_for, unpaid_at_most)
        async with self._database.connection() as connection:
            with domain_errors():
                if claim is None:
                    row = await connection.fetchrow(self._reserve, *given)
                else:
                    row = await connection.fetchrow(
                        self._reserve_under_key, *given, claim.owner, claim.key, claim.runner
                    )
            if row is None and claim is not None:
                await require_claim(connection, claim)
        return placed_of(row, user_id) if row else None

    async def find_event(self, event_id: EventId, user_id: UserId) -> tuple[Event, bool] | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """SELECT e.*, f.is_active, EXISTS (SELECT FROM bookings b
                                       WHERE b.event_id = e.id AND b.user_id = $2 AND b.status <> 'cancelled') AS mine
                   FROM events e JOIN users f ON f.id = e.facilitator_id WHERE e.id = $1 AND e.hidden_at IS NULL""",
                event_id,
                user_id,
            )
        if row is None:
            return None
        event = event_of_record(row)
        return replace(event, facilitator_active=event.facilitator_active and row["is_active"]), row["mine"]

    async def count_unpaid_holds(self, user_id: UserId) -> int:
        async with self._database.connection() as connection:
            count: int = await connection.fetchval("SELECT unpaid_holds($1)", user_id)
        return count


def placed_of(row: asyncpg.Record, user_id: UserId) -> ReservedBooking:
    """A row of `placed`."""
    return ReservedBooking(
        id=BookingId(row["id"]),
        reference=row["reference"],
        payment_status=PaymentStatus(row["payment_status"]),
        payment_id=PaymentId(row["payment_id"]) if row["payment_id"] else None,
        notes=row["notes"],
        created_at=row["created_at"],
        user_id=user_id,
        user_name=row["user_name"],
        user_email=row["user_email"],
        event_id=EventId(row["event_id"]),
        event_title=row["event_title"],
        facilitator_id=UserId(row["facilitator_id"]),
        price=row["price"],
        currency=row["currency"],
        hold_until=row["hold_until"],
    )
