"""Columns of events that `Backfill` fills."""

# The share of the account keeps an operator from activating it meanwhile.
FACILITATOR_INACTIVE = """
WITH batch AS (
    SELECT events.id FROM users JOIN events ON events.facilitator_id = users.id
    WHERE NOT users.is_active AND events.facilitator_active
    LIMIT $1
    FOR SHARE OF users SKIP LOCKED FOR NO KEY UPDATE OF events SKIP LOCKED
)
UPDATE events SET facilitator_active = false FROM batch WHERE events.id = batch.id
"""
"""Events of facilitators that were deactivated before migration 0016."""
