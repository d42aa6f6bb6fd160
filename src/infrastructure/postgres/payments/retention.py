"""What of the webhook inbox expires."""

# The row stays, because its id recognises a repeated webhook. `report` has what the worker applied.
REDUCE_GATEWAY_EVENTS = """
UPDATE gateway_events e SET payload = '{}'
FROM (
    SELECT gateway, id FROM gateway_events
    WHERE payload <> '{}' AND (settled_at IS NOT NULL OR report IS NULL)
      AND coalesce(settled_at, received_at) < now() - $1::interval
    ORDER BY coalesce(settled_at, received_at) LIMIT $2
    FOR UPDATE SKIP LOCKED
) expired
WHERE e.gateway = expired.gateway AND e.id = expired.id
"""
"""$1: time since the webhook was applied, or since its arrival if there was nothing to apply. $2: at most so many."""
