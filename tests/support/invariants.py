"""Invariants, checked in the database after every fault, in SQL.

`tests/resilience/test_invariants.py` breaks each of them once and sees it named.
"""

import asyncpg

from domain.outbox import ROUTES, Destination, MessageType

_SOLD = """
SELECT 'event ' || id || ' has ' || live || ' live' || CASE WHEN held > 0 THEN ' and ' || held || ' held' ELSE '' END
       || ', ' || booked || ' booked of ' || capacity
FROM events e, LATERAL (
    SELECT (SELECT count(*) FROM bookings b WHERE b.event_id = e.id AND b.status <> 'cancelled') AS live,
           (SELECT count(*) FROM invitations i WHERE i.event_id = e.id AND i.status = 'pending') AS held
) AS seats
WHERE live + held <> booked OR live + held > capacity
UNION ALL
SELECT 'person ' || user_id || ' has ' || count(*) || ' places in event ' || event_id
FROM bookings WHERE status <> 'cancelled' GROUP BY event_id, user_id HAVING count(*) > 1
UNION ALL
SELECT 'coach ' || a.coach_id || ' has 2 live sessions at ' || b.starts_at
FROM coaching_bookings a JOIN coaching_bookings b ON b.coach_id = a.coach_id AND b.id > a.id
    AND tstzrange(b.busy_from, b.busy_until) && tstzrange(a.busy_from, a.busy_until)
WHERE a.status IN ('pending', 'confirmed') AND b.status IN ('pending', 'confirmed')
UNION ALL
SELECT 'event ' || e.id || ' does not say whether its facilitator is active'
FROM events e JOIN users f ON f.id = e.facilitator_id WHERE e.facilitator_active <> f.is_active
UNION ALL
SELECT 'reminder ' || r.id || ' is planned for what is cancelled'
FROM reminders r LEFT JOIN bookings b ON b.id = r.booking_id
    LEFT JOIN coaching_bookings c ON c.id = r.coaching_booking_id
WHERE r.status = 'planned' AND coalesce(b.status, c.status) = 'cancelled'
"""

_PAID = """
SELECT 'booking ' || s.id || ' is paid without money'
FROM (SELECT id::text, payment_status FROM bookings
      UNION ALL SELECT id::text, payment_status FROM coaching_bookings) s
WHERE s.payment_status = 'completed' AND NOT EXISTS (
    SELECT FROM payments p
    WHERE coalesce(p.booking_id::text, p.coaching_booking_id::text) = s.id AND p.received_at IS NOT NULL)
UNION ALL
SELECT 'payment ' || p.id || ' promised ' || p.refunded || ', refunds ' || coalesce(sum(r.amount), 0)
FROM payments p LEFT JOIN refunds r ON r.payment_id = p.id
GROUP BY p.id HAVING p.refunded <> coalesce(sum(r.amount), 0)
"""

# The triggers have seen every row, so the counts are complete before a worker has counted anything.
_COUNTED = """
WITH counted AS (
    SELECT f.id,
           (SELECT count(*) FROM events e WHERE e.facilitator_id = f.id AND e.hidden_at IS NULL) AS sessions,
           (SELECT count(*) FROM events e
            WHERE e.facilitator_id = f.id AND e.hidden_at IS NULL AND e.status = 'active') AS active,
           (SELECT count(*) FROM events e WHERE e.facilitator_id = f.id AND e.hidden_at IS NULL
               AND e.status = 'active' AND e.completed_at IS NULL) AS ahead,
           (SELECT count(*) FROM bookings b JOIN events e ON e.id = b.event_id
            WHERE e.facilitator_id = f.id AND b.status <> 'cancelled') AS bookings,
           money.*
    FROM users f, LATERAL (
        SELECT count(*) AS payments, coalesce(sum(amount - refunded - charged_back), 0) AS revenue
        FROM payments p JOIN bookings b ON b.id = p.booking_id JOIN events e ON e.id = b.event_id
        WHERE e.facilitator_id = f.id AND p.status IN ('completed', 'refunded')
    ) money
), kept AS (
    SELECT facilitator_id AS id, sum(sessions) AS sessions, sum(active_sessions) AS active,
           sum(sessions_ahead) AS ahead, sum(bookings) AS bookings, sum(payments) AS payments, sum(revenue) AS revenue
    FROM (TABLE facilitator_counts UNION ALL
          SELECT facilitator_id, month, currency, sessions, active_sessions, sessions_ahead, bookings, payments, revenue
          FROM facilitator_count_changes) rows
    GROUP BY facilitator_id
)
SELECT 'the counts of facilitator ' || c.id || ' are ' || kept || ', not ' || c
FROM counted c LEFT JOIN kept ON kept.id = c.id
WHERE (c.sessions, c.active, c.ahead, c.bookings, c.payments, c.revenue) IS DISTINCT FROM (
    coalesce(kept.sessions, 0), coalesce(kept.active, 0), coalesce(kept.ahead, 0), coalesce(kept.bookings, 0),
    coalesce(kept.payments, 0), coalesce(kept.revenue, 0))
UNION ALL
SELECT 'booking ' || b.id || ' has the facilitator of another event'
FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.facilitator_id <> e.facilitator_id
"""

# A claim is worth 10 s and renewed every 3: one that is not settled 15 s after it was made last was neither renewed
# nor taken over, and one that is worth more keeps a killed worker's message from the others for too long.
_LEASED = """
SELECT 'message ' || id || ' is claimed until ' || due_at - now() || ' from now'
FROM outbox WHERE status = 'pending' AND claimed_by IS NOT NULL
    AND due_at NOT BETWEEN now() - interval '5 s' AND now() + interval '10 s'
"""

# $1 and $2 are, side by side, message types and their destinations. A seat that was released and, after a late
# payment, reserved again was cancelled more often than it shows.
_DELIVERED = """
WITH owed AS (
    SELECT * FROM unnest($1::text[], $2::text[]) AS o(fact, destination)
), happened AS (
    SELECT 'booking:' || id AS lane, 'booking_created' AS fact, 1 AS least, 1 AS most FROM bookings
    UNION ALL
    SELECT 'booking:' || b.id, 'booking_cancelled', (b.status = 'cancelled')::int,
           (b.status = 'cancelled')::int
               + (SELECT count(*) FROM payments p WHERE p.booking_id = b.id AND p.received_at IS NOT NULL)
    FROM bookings b
    UNION ALL
    SELECT 'coaching:' || id || r.recipient, 'booking_created', 1, 1
    FROM coaching_bookings, unnest(ARRAY['', ':client', ':coach']) r(recipient)
    WHERE r.recipient = '' OR series_id IS NULL
    UNION
    SELECT 'coaching_series:' || series_id || r.recipient, 'booking_created', 1, 1
    FROM coaching_bookings, unnest(ARRAY[':client', ':coach']) r(recipient) WHERE series_id IS NOT NULL
), told AS (
    SELECT lane, fact, destination, count(*) AS times FROM outbox GROUP BY lane, fact, destination
)
SELECT h.lane || ' owes ' || o.destination || ' ' || h.fact || ' ' || coalesce(t.times, 0) || ' times, not '
       || h.least
FROM happened h JOIN owed o ON o.fact = h.fact
    AND (h.lane NOT LIKE 'coaching%' OR (o.destination = 'email') = (h.lane LIKE 'coaching%:%:%'))
    LEFT JOIN told t ON t.lane = h.lane AND t.fact = h.fact AND t.destination = o.destination
WHERE coalesce(t.times, 0) NOT BETWEEN h.least AND h.most
UNION ALL
SELECT lane || ' owes ' || destination || ' ' || fact || ', which nobody wants'
FROM told t WHERE t.lane NOT LIKE '%:facilitator'
    AND NOT EXISTS (SELECT FROM owed o WHERE o.fact = t.fact AND o.destination = t.destination)
UNION ALL
SELECT t.lane || ' is of nothing'
FROM told t LEFT JOIN (
    SELECT 'booking:' || id || r.recipient AS lane FROM bookings, unnest(ARRAY['', ':facilitator']) r(recipient)
    UNION ALL
    SELECT 'event:' || id || r.recipient FROM events, unnest(ARRAY['', ':facilitator']) r(recipient)
    UNION ALL
    SELECT 'coaching:' || id || r.recipient
    FROM coaching_bookings, unnest(ARRAY['', ':client', ':coach']) r(recipient)
    UNION
    SELECT 'coaching_series:' || series_id || r.recipient
    FROM coaching_bookings, unnest(ARRAY[':client', ':coach']) r(recipient)
) subject ON subject.lane = t.lane
WHERE subject.lane IS NULL AND (t.lane LIKE 'booking:%' OR t.lane LIKE 'event:%' OR t.lane LIKE 'coaching%')
"""


async def broken_invariants(
    database: asyncpg.Connection, *, unserved: frozenset[Destination] = frozenset({Destination.NOTIFICATION})
) -> list[str]:
    """A sentence for each broken invariant. `unserved`: destinations that this deployment does not serve."""
    routes = [(str(message_type), str(to)) for message_type, to in _routes(unserved)]
    facts, destinations = [message_type for message_type, _ in routes], [to for _, to in routes]
    rows = [
        *await database.fetch(_SOLD),
        *await database.fetch(_PAID),
        *await database.fetch(_COUNTED),
        *await database.fetch(_LEASED),
        *await database.fetch(_DELIVERED, facts, destinations),
    ]
    return [row[0] for row in rows]


def _routes(unserved: frozenset[Destination]) -> list[tuple[MessageType, Destination]]:
    return [
        (message_type, to) for message_type, destinations in ROUTES.items() for to in destinations if to not in unserved
    ]
