"""Statements of the version with migration 0010, as it sends them: it serves while a newer schema is made."""

RESERVE = """
WITH e AS (
    UPDATE events SET booked = booked + 1, version = version + 1
    WHERE id = $1 AND status = 'active' AND hidden_at IS NULL AND starts_at > $4 AND booked < capacity
      AND NOT EXISTS (SELECT FROM bookings WHERE event_id = $1 AND user_id = $2 AND status <> 'cancelled')
    RETURNING events.*
), b AS (
    INSERT INTO bookings (event_id, user_id, status, payment_status, notes, created_at, hold_until)
    SELECT e.id, $2, 'confirmed', CASE WHEN e.price = 0 THEN 'not_required' ELSE 'pending' END, $3, $4,
           CASE WHEN e.price > 0 THEN $7::timestamptz END
    FROM e
    RETURNING *
), asked AS (
    INSERT INTO payments (booking_id, gateway, amount, currency, status, created_at)
    SELECT b.id, $6, e.price, e.currency, 'pending', $4 FROM b, e WHERE e.price > 0
    RETURNING id
), owed AS (
    INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
    SELECT d.name, 'booking:' || b.id, 'booking_created', s.snapshot, $5, $4
    FROM b, e, users u, users f,
         LATERAL (SELECT jsonb_build_object('booking', jsonb_build_object(
    'id', b.id, 'reference', b.reference, 'status', b.status, 'payment_status', b.payment_status, 'notes', b.notes,
    'created_at', b.created_at, 'cancelled_at', b.cancelled_at, 'hold_until', b.hold_until),
    'user', jsonb_build_object('id', u.id, 'name', u.name, 'email', u.email, 'timezone', u.timezone),
    'event', jsonb_build_object(
    'id', e.id, 'title', e.title, 'description', e.description, 'event_type', e.event_type, 'category', e.category,
    'starts_at', e.starts_at, 'ends_at', e.ends_at, 'location', e.location, 'virtual_link', e.virtual_link,
    'capacity', e.capacity, 'booked', e.booked, 'price', e.price::text, 'currency', e.currency,
    'status', e.status, 'revision', e.revision, 'version', e.version),
    'facilitator', jsonb_build_object('id', f.id, 'name', f.name, 'email', f.email, 'timezone', f.timezone),
    'reason', NULL::text, 'money', NULL::jsonb, 'payment', NULL) AS snapshot) s,
         unnest(ARRAY['crm', 'email', 'realtime']::text[]) AS d(name)
    WHERE u.id = $2 AND f.id = e.facilitator_id
)
SELECT b.id, b.reference, b.payment_status, b.notes, b.created_at, u.name AS user_name, u.email AS user_email,
       b.hold_until, e.id AS event_id, e.title AS event_title, e.facilitator_id, e.price, e.currency,
       (SELECT id FROM asked) AS payment_id
FROM b, e, users u WHERE u.id = $2
"""
CLAIM = """
WITH state AS MATERIALIZED (
    SELECT tripped_at IS NOT NULL AS tripped,
           halted_at IS NOT NULL OR coalesce(paused_until > now(), false)
           OR (tripped_at IS NOT NULL AND probe_at > now()) AS shut
    FROM destinations WHERE name = $1
), due AS MATERIALIZED (
    SELECT id, claimed_by IS NOT NULL AS rescued FROM outbox AS message
    WHERE status = 'pending' AND destination = $1 AND due_at <= now() AND fact = ANY($5)
      AND seq = (
          SELECT min(seq) FROM outbox AS lane
          WHERE lane.status = 'pending' AND lane.destination = message.destination AND lane.lane = message.lane)
    ORDER BY due_at, seq
    LIMIT CASE WHEN (SELECT shut FROM state) THEN 0 WHEN (SELECT tripped FROM state) THEN 1 ELSE $2 END
    FOR UPDATE SKIP LOCKED
), turn AS (
    UPDATE destinations SET probe_at = now() + $6::interval
    WHERE name = $1 AND tripped_at IS NOT NULL AND probe_at <= now() AND (SELECT tripped FROM state)
      AND EXISTS (SELECT FROM due)
    RETURNING name
), claimed AS (
    UPDATE outbox SET due_at = now() + $3::interval, claimed_by = $4, attempts = attempts + 1
    FROM due WHERE outbox.id = due.id AND ((SELECT tripped FROM state) IS NOT TRUE OR EXISTS (SELECT FROM turn))
    RETURNING outbox.*, due.rescued
), lost AS (
    INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, detail)
    SELECT id, attempts - 1, now(), 0, 'failed', 'taken over: its worker was not heard of any more'
    FROM claimed WHERE rescued
)
SELECT id, lane, fact, snapshot, attempts, occurred_at, request_id, rescued,
       EXISTS (SELECT FROM turn) AS probe
FROM claimed ORDER BY seq
"""
BOOKINGS_OF_USER = """
    SELECT b.id, b.reference, b.status, b.payment_status, b.notes, b.created_at, b.cancelled_at,
           u.id AS user_id, u.name AS user_name, u.email AS user_email, u.phone AS user_phone,
           p.gateway_payment_id, p.gateway_reference,
    e.id AS event_id, e.title, e.description, e.event_type, e.category, e.starts_at, e.ends_at, e.location,
    e.virtual_link, e.capacity, e.booked, e.price, e.currency, e.status AS event_status,
    e.created_at AS event_created_at, f.id AS facilitator_id, f.name AS facilitator_name, f.email AS facilitator_email,
    fp.rating_sum::float8 / nullif(fp.rating_count, 0) AS rating

    FROM bookings b
    JOIN users u ON u.id = b.user_id
    JOIN events e ON e.id = b.event_id
    JOIN users f ON f.id = e.facilitator_id LEFT JOIN facilitator_profiles fp ON fp.user_id = f.id
    LEFT JOIN LATERAL (SELECT * FROM payments WHERE booking_id = b.id ORDER BY id DESC LIMIT 1) p ON true
    WHERE ($1::bigint IS NULL OR b.id < $1) AND b.user_id = $3 ORDER BY b.id DESC LIMIT $2
"""
EVENTS = """SELECT
    e.id AS event_id, e.title, e.description, e.event_type, e.category, e.starts_at, e.ends_at, e.location,
    e.virtual_link, e.capacity, e.booked, e.price, e.currency, e.status AS event_status,
    e.created_at AS event_created_at, f.id AS facilitator_id, f.name AS facilitator_name, f.email AS facilitator_email,
    fp.rating_sum::float8 / nullif(fp.rating_count, 0) AS rating
 FROM events e
    JOIN users f ON f.id = e.facilitator_id LEFT JOIN facilitator_profiles fp ON fp.user_id = f.id
    WHERE e.hidden_at IS NULL AND e.status = 'active' AND e.ends_at > $1 ORDER BY e.starts_at, e.id LIMIT $2
"""
EVENT = """
SELECT e.*, EXISTS (SELECT FROM bookings b
                    WHERE b.event_id = e.id AND b.user_id = $2 AND b.status <> 'cancelled') AS mine
FROM events e WHERE e.id = $1 AND e.hidden_at IS NULL
"""
CANCEL = (
    """
UPDATE bookings SET status = 'cancelled', cancelled_at = now(), cancel_reason = 'by_person', hold_until = NULL
WHERE id = $1
""",
    "UPDATE events SET booked = booked - 1, version = version + 1 WHERE id = $1",
)
REGISTER = "INSERT INTO users (email, name, role) VALUES ($1, $2, 'user') RETURNING id"
PAY = "UPDATE payments SET status = 'completed', received_at = now() WHERE booking_id = $1 RETURNING id"
REFUND = """
INSERT INTO refunds (payment_id, amount, currency, reason, status, requested_at)
VALUES ($1, 1, 'INR', 'requested', 'pending', now())
"""
WEBHOOK = """
INSERT INTO gateway_events (gateway, id, kind, report, payload, received_at)
VALUES ('stripe', $1, 'payment', '{}', '{}', now())
"""
APPOINTMENT = """
INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status, payment_status,
                               price, currency, refund_policy, created_at, updated_at)
SELECT $1, $2, s, s + interval '30 minutes', s, s + interval '30 minutes', 'confirmed', 'not_required', 0, 'INR', '[]',
       now(), now()
FROM (SELECT now() + interval '1 day' + $3 * interval '1 hour' AS s) AS start
RETURNING id
"""
CANCEL_APPOINTMENT = """
UPDATE coaching_bookings SET status = 'cancelled', cancelled_at = now(), cancel_reason = 'by_coach' WHERE id = $1
"""
NOTIFY = """
INSERT INTO notifications (message_id, body, action, booking_id, facilitator_id, status, next_attempt_at)
VALUES ($1, '{}', 'booking_created', $2, 2, 'pending', now()) RETURNING id
"""
NOTIFICATIONS = "SELECT * FROM notifications WHERE deleted_at IS NULL ORDER BY id DESC LIMIT 100"
MAILED = """
UPDATE notifications SET status = 'sent', sent_at = now(), next_attempt_at = NULL, lease = NULL WHERE id = $1
"""
