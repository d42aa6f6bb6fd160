"""Who has dealt with a refused delivery of a webhook, and the index of those that wait for it."""

from alembic import op

from servicekit.migrations import online

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run(
        "ALTER TABLE crm_booking_deliveries ADD COLUMN IF NOT EXISTS processed_at timestamptz, "
        "ADD COLUMN IF NOT EXISTS processed_by text"
    )
    online.create_index(
        "ix_crm_booking_deliveries_failed",
        "crm_booking_deliveries (crm_booking_id) WHERE status = 'failed' AND processed_at IS NULL",
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_crm_booking_deliveries_failed")
    op.execute("ALTER TABLE crm_booking_deliveries DROP COLUMN processed_at, DROP COLUMN processed_by")
