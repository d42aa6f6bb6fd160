"""How often deliveries came to what, for the operator's metrics: counters that neither pruning nor a restart resets."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE delivery_counts (
    destination text NOT NULL,
    what text NOT NULL CONSTRAINT ck_delivery_counts_what
        CHECK (what IN ('delivered', 'failed', 'dead', 'rescued')),
    total bigint NOT NULL,
    CONSTRAINT pk_delivery_counts PRIMARY KEY (destination, what)
);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE delivery_counts")
