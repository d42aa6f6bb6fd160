"""An index of the webhooks that are stored and not applied yet: when money arrived is asked where it is found late.

It holds only what waits for a worker, so it stays small.
"""

from alembic import op

from servicekit.migrations import online

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.create_index(
        "ix_gateway_events_unsettled", "gateway_events (gateway) WHERE settled_at IS NULL AND report IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_gateway_events_unsettled")
