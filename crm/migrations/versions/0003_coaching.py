"""Notifications about coaching sessions, which have a UUID where places in events have a number"""

from alembic import op

from servicekit.migrations import online

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("ALTER TABLE notifications ADD COLUMN IF NOT EXISTS coaching_id uuid")
    online.add_constraint(
        "notifications", "ck_notifications_one_booking", "CHECK (num_nonnulls(booking_id, coaching_id) <= 1)"
    )
    online.create_index("ix_notifications_coaching_id", "notifications (coaching_id, id)")


def downgrade() -> None:
    op.execute("ALTER TABLE notifications DROP COLUMN coaching_id")
