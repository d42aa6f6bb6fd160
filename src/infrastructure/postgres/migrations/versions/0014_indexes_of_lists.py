"""Indexes for the lists of operators, whose filters read whole tables."""

from alembic import op

from servicekit.migrations import online

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_outbox_listed": "outbox (destination, status, id)",
    "ix_payments_status": "payments (status, id)",
    "ix_refunds_open": "refunds (requested_at) WHERE status IN ('pending', 'failed')",
    "ix_payment_differences_open": "payment_differences (id) WHERE settled_at IS NULL",
}


def upgrade() -> None:
    for name, what in INDEXES.items():
        online.create_index(name, what)


def downgrade() -> None:
    op.execute(f"DROP INDEX {', '.join(INDEXES)}")
