"""Which reminders expire."""

# A reminder of a past start is not planned again, so its row is not needed to send it once. One whose mail is pending
# or a dead letter is kept.
PRUNE_REMINDERS = """
DELETE FROM reminders WHERE id IN (
    SELECT r.id FROM reminders r
    WHERE r.status <> 'planned' AND r.starts_at < now() - $1::interval
      AND NOT (r.status = 'queued' AND EXISTS (
          SELECT FROM outbox m WHERE m.id = r.message_id AND m.status IN ('pending', 'dead')))
    ORDER BY r.starts_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
"""$1: time since the planned start, $2: at most so many rows."""
