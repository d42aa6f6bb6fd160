"""Indexes for the lists of operators, whose filters read whole tables

All migrations of an upgrade are one transaction, in which PostgreSQL does not build an index CONCURRENTLY. On a large
outbox the first statement blocks writers for as long as it takes; where that is too long, run it
with CONCURRENTLY before the upgrade: an index that is there already is left as it is.
"""

from alembic import op

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
        op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {what}")


def downgrade() -> None:
    op.execute(f"DROP INDEX {', '.join(INDEXES)}")
