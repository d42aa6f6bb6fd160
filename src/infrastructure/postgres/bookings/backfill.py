"""Columns of bookings that `Backfill` fills."""

# It locks bookings only and waits for none, so it has no part in a deadlock.
FACILITATOR_ID = """
WITH batch AS (
    SELECT b.id, (SELECT e.facilitator_id FROM events e WHERE e.id = b.event_id) AS facilitator_id
    FROM bookings b WHERE b.facilitator_id IS NULL ORDER BY b.id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE bookings SET facilitator_id = batch.facilitator_id FROM batch WHERE bookings.id = batch.id
"""
"""Bookings from before migration 0028, and those that its version before writes beside it."""
