"""Reservation of seats for several requests for one event in one transaction (docs/decisions/0014)."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import asyncpg

from domain.accounts import UserId
from domain.events import EventId
from domain.outbox import ALWAYS_SERVED, Destination, MessageType, routes_for
from infrastructure.postgres.bookings.seat_queues import NotInBatch, SeatAnswer, SeatRequest
from infrastructure.postgres.bookings.seats import booking_insert, follow_ups, guard, placed, placed_of
from infrastructure.postgres.engine import Database
from servicekit.database import Connection, in_transaction

# The transaction waits here and nowhere else. The next statement has a new snapshot, which includes what the former
# owners of the lock have committed.
LOCK = "SELECT FROM events WHERE id = $1 FOR NO KEY UPDATE"

_COLUMNS = """id, facilitator_id, title, description, event_type, category, starts_at, ends_at, location, virtual_link,
    capacity, price, currency, status, revision"""

# The event as it is after the booking `b`, which is the `number`th of `more`.
_EVENT = f"""LATERAL (
    SELECT {_COLUMNS}, booked - more + b.number AS booked, version - more + b.number AS version FROM changed
) e"""  # noqa: S608 (composed of constants)

_REQUESTED = "user_id, notes, now, request_id, hold_for, unpaid_at_most"
_ARRAYS = "$3::bigint[], $4::text[], $5::timestamptz[], $6::text[], $7::interval[], $8::int[]"
_KEYS, _KEY_ARRAYS = "owner, key, runner", "$9::text[], $10::text[], $11::uuid[]"

_INSERT = booking_insert(
    user="g.user_id", notes="g.notes", now="g.now", hold_for="g.hold_for", rows="changed e, granted g ORDER BY g.place"
)

# Locks that belong to one request are tried, not waited for: a request that has to wait for one is carried out alone.
# So batches and single statements, which lock these before the event, cannot deadlock.
_CLAIM = """
SELECT r.place FROM unnest($1::text[], $2::text[], $3::uuid[]) WITH ORDINALITY AS r(owner, key, runner, place)
JOIN idempotency_keys k ON k.owner = r.owner AND k.key = r.key AND k.runner = r.runner
FOR UPDATE OF k SKIP LOCKED
"""

_SAID = """, said AS (
    UPDATE idempotency_keys k
    SET committed = true, made = to_jsonb(p) - 'place' || jsonb_build_object('user_id', r.user_id)
    FROM placed p JOIN requested r USING (place) WHERE k.owner = r.owner AND k.key = r.key
)"""


def batch_statement(
    destinations: Iterable[Destination], remind_before: Sequence[timedelta] = (), *, under_keys: bool = False
) -> str:
    """The booking statement for several users of one event, whose row the transaction has locked. The results are those
    of `reserve_statement` for one request after the other.

    Its parameters: event, gateway, and arrays of user, notes, now, request id, maximum hold, and maximum number of
    unpaid holds; `under_keys` also of owner, key and runner, which are null for a request without a key. The rows are
    in the order of the requests; `id` is null where no seat was reserved, and `alone` is true if another transaction
    counts the unpaid holds of the account.
    """
    columns, arrays = (f"{_REQUESTED}, {_KEYS}", f"{_ARRAYS}, {_KEY_ARRAYS}") if under_keys else (_REQUESTED, _ARRAYS)
    return f"""
WITH requested AS MATERIALIZED (
    SELECT * FROM unnest({arrays}) WITH ORDINALITY AS r({columns}, place)
), free AS MATERIALIZED (
    SELECT r.*, events.capacity - events.booked AS seats, CASE
        WHEN price = 0 OR r.unpaid_at_most IS NULL THEN true
        WHEN pg_try_advisory_xact_lock(hashtextextended('unpaid holds of ' || r.user_id, 0))
        THEN unpaid_holds(r.user_id) < r.unpaid_at_most END AS may_hold
    FROM requested r, events WHERE events.id = $1 AND {guard(user="r.user_id", now="r.now")}
), granted AS MATERIALIZED (
    SELECT * FROM (
        SELECT f.*, row_number() OVER (ORDER BY place)::int AS number
        FROM (SELECT DISTINCT ON (user_id) * FROM free WHERE may_hold ORDER BY user_id, place) f
    ) ranked WHERE number <= seats
), changed AS (
    UPDATE events SET booked = booked + more, version = version + more
    FROM (SELECT count(*)::int AS more FROM granted) counted
    WHERE events.id = $1 AND more > 0
    RETURNING events.*, more
), inserted AS ({_INSERT}
), b AS MATERIALIZED (
    -- The ids are in the order of the places: so nothing is joined that grows with the square of the requests.
    SELECT n.*, places[number] AS place, ($6::text[])[places[number]] AS request_id
    FROM (SELECT inserted.*, row_number() OVER (ORDER BY id)::int AS number FROM inserted) n,
         (SELECT array_agg(place ORDER BY place) AS places FROM granted) g
), {follow_ups(destinations, remind_before, request_id="b.request_id", gateway="$2", event=_EVENT)}, placed AS (
    {placed(_EVENT, also=", b.place")}
){_SAID if under_keys else ""}
SELECT p.*, free.place IS NOT NULL AND free.may_hold IS NULL AS alone
FROM requested r LEFT JOIN free ON free.place = r.place LEFT JOIN placed p ON p.place = r.place
ORDER BY r.place
"""  # noqa: S608 (composed of constants)


BATCH = batch_statement(routes_for(ALWAYS_SERVED)[MessageType.BOOKING_CREATED])
BATCH_UNDER_KEYS = batch_statement(routes_for(ALWAYS_SERVED)[MessageType.BOOKING_CREATED], under_keys=True)


class PostgresSeatBatches:
    def __init__(
        self,
        database: Database,
        *,
        gateway: str,
        lock: str = LOCK,
        reserve: str = BATCH,
        reserve_under_keys: str = BATCH_UNDER_KEYS,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._lock = lock
        self._reserve = reserve
        self._reserve_under_keys = reserve_under_keys

    async def reserve_together(self, event_id: EventId, requests: Sequence[SeatRequest]) -> Sequence[SeatAnswer]:
        """Reserves seats for all requests in one transaction, in their order. Returns the answer to each: that of
        `SeatInventory.reserve`, or that the request has to be carried out alone.

        An error that concerns one of them is raised for all; then nothing was written. Raises `Unavailable`, after
        which it is unknown whether anything was written.
        """
        async with self._database.connection() as connection:
            return await in_transaction(connection, lambda: self._reserved(connection, event_id, requests))

    async def _reserved(
        self, connection: Connection, event_id: EventId, requests: Sequence[SeatRequest]
    ) -> list[SeatAnswer]:
        answers: list[SeatAnswer] = [NotInBatch.ALONE] * len(requests)
        places = await _claimed(connection, requests)
        taken = [requests[place] for place in places]
        await connection.execute(self._lock, event_id)
        arrays = [[getattr(request, column) for request in taken] for column in _REQUESTED.split(", ")]
        if any(request.claim for request in taken):
            arrays += _keys(taken)
            rows = await connection.fetch(self._reserve_under_keys, event_id, self._gateway, *arrays)
        else:
            rows = await connection.fetch(self._reserve, event_id, self._gateway, *arrays)
        for place, row in zip(places, rows, strict=True):
            answers[place] = _answer(row, requests[place].user_id)
        return answers


async def _claimed(connection: Connection, requests: Sequence[SeatRequest]) -> list[int]:
    """The places of the requests without a key, and of those whose keys are locked until the transaction ends."""
    places = {place for place, request in enumerate(requests) if request.claim is None}
    if len(places) < len(requests):
        places |= {row["place"] - 1 for row in await connection.fetch(_CLAIM, *_keys(requests))}
    return sorted(places)


def _keys(requests: Sequence[SeatRequest]) -> list[list[object]]:
    return [[getattr(request.claim, column, None) for request in requests] for column in _KEYS.split(", ")]


def _answer(row: asyncpg.Record, user_id: UserId) -> SeatAnswer:
    if row["alone"]:
        return NotInBatch.ALONE
    return placed_of(row, user_id) if row["id"] is not None else None
