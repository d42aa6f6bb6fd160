"""The index by which the list of notifications is read: those about events as such are left out of it."""

from alembic import op

from servicekit.migrations import online

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.create_index(
        "ix_notifications_listed",
        "notifications (id) WHERE deleted_at IS NULL AND num_nonnulls(booking_id, coaching_id) = 1",
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_notifications_listed")
