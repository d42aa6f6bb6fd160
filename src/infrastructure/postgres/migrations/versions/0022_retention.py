"""Indexes by which expired rows are found, and the attachments of an account."""

from alembic import op

from servicekit.migrations import online

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_reminders_starts_at": "reminders (starts_at) WHERE status <> 'planned'",
    "ix_coaching_changes_changed_at": "coaching_changes (changed_at)",
    "ix_gateway_events_payload": (
        "gateway_events (coalesce(settled_at, received_at))"
        " WHERE payload <> '{}'::jsonb AND (settled_at IS NOT NULL OR report IS NULL)"
    ),
    "ix_sandbox_orders_created_at": "sandbox_orders (created_at)",
    "ix_outbox_dead_settled": "outbox (settled_at) WHERE status = 'dead' AND destination <> 'payments'",
    "ix_coaching_attachments_uploaded_by": "coaching_attachments (uploaded_by)",
}


def upgrade() -> None:
    for name, what in INDEXES.items():
        online.create_index(name, what)


def downgrade() -> None:
    op.execute(f"DROP INDEX {', '.join(INDEXES)}")
