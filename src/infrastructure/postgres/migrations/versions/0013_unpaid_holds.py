"""Counts the unpaid bookings that an account holds, and lets only one of its requests at a time do so"""

from alembic import op

from servicekit.migrations import online

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# VOLATILE and PL/pgSQL: each of its queries has a snapshot of its own, so that what is counted after the lock includes
# what its last owner committed. A plain subquery would see the snapshot of the statement that waits.
_FUNCTION = """
CREATE OR REPLACE FUNCTION unpaid_holds(account bigint) RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    seats integer;
    appointments integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('unpaid holds of ' || account, 0));
    SELECT count(*) INTO seats FROM bookings
    WHERE user_id = account AND hold_until IS NOT NULL AND status = 'confirmed'
      AND payment_status IN ('pending', 'failed');
    SELECT count(DISTINCT coalesce(series_id, id)) INTO appointments FROM coaching_bookings
    WHERE client_id = account AND hold_until IS NOT NULL AND status = 'pending'
      AND payment_status IN ('pending', 'failed');
    RETURN seats + appointments;
END $$
"""


def upgrade() -> None:
    online.create_index("ix_bookings_held_by", "bookings (user_id) WHERE hold_until IS NOT NULL")
    online.create_index(
        "ix_coaching_bookings_held_by", "coaching_bookings (client_id, coach_id) WHERE hold_until IS NOT NULL"
    )
    online.run(_FUNCTION)


def downgrade() -> None:
    op.execute("DROP FUNCTION unpaid_holds(bigint)")
    op.execute("DROP INDEX ix_coaching_bookings_held_by, ix_bookings_held_by")
