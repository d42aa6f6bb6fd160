"""An index of the webhooks that are stored and not applied yet: when money arrived is asked where it is found late.

It holds only what waits for a worker, so it stays small. Building it reads the table once.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE INDEX IF NOT EXISTS ix_gateway_events_unsettled ON gateway_events (gateway)
        WHERE settled_at IS NULL AND report IS NOT NULL
    """)


def downgrade() -> None:
    op.execute("DROP INDEX ix_gateway_events_unsettled")
