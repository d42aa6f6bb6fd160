"""Which messages expire. $1: age, $2: at most so many rows."""

from domain.outbox import Destination

# The attempts are deleted with their messages.
PRUNE_MESSAGES = """
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox
    WHERE status IN ('delivered', 'discarded') AND settled_at < now() - $1::interval
    ORDER BY settled_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""

# Without the jobs at gateways: each concerns money that a client has paid, and is kept until an operator decides.
PRUNE_DEAD_LETTERS = f"""
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox
    WHERE status = 'dead' AND destination <> '{Destination.PAYMENTS}' AND settled_at < now() - $1::interval
    ORDER BY settled_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""  # noqa: S608 (composed of constants)

PRUNE_HELD = """
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox WHERE status = 'held' AND settled_at < now() - $1::interval
    ORDER BY settled_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""

PRUNE_MINUTES = """
DELETE FROM destination_minutes WHERE (destination, minute, shard) IN (
    SELECT destination, minute, shard FROM destination_minutes WHERE minute < now() - $1::interval
    ORDER BY minute LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
