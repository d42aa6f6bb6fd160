"""Indexes by which expired notifications and webhooks are found."""

from alembic import op

from servicekit.migrations import online

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_notifications_handled": (
        "notifications (received_at) WHERE status <> 'pending' AND (processed OR deleted_at IS NOT NULL)"
    ),
    "ix_crm_bookings_received_at": "crm_bookings (received_at)",
}


def upgrade() -> None:
    for name, what in INDEXES.items():
        online.create_index(name, what)


def downgrade() -> None:
    op.execute(f"DROP INDEX {', '.join(INDEXES)}")
