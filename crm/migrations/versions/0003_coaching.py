"""Notifications about coaching sessions, which have a UUID where places in events have a number"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE notifications
            ADD COLUMN coaching_id uuid,
            ADD CONSTRAINT ck_notifications_one_booking CHECK (num_nonnulls(booking_id, coaching_id) <= 1)
        """
    )
    op.execute("CREATE INDEX ix_notifications_coaching_id ON notifications (coaching_id, id)")


def downgrade() -> None:
    op.execute("ALTER TABLE notifications DROP COLUMN coaching_id")
