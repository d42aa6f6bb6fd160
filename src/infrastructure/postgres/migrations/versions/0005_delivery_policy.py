"""What is known of each destination (paused, tripped, how its last minutes went), and an index for retention."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE destinations (
    name text NOT NULL CONSTRAINT pk_destinations PRIMARY KEY,
    tripped_at timestamptz,
    probe_at timestamptz,
    paused_until timestamptz,
    halted_at timestamptz,
    reason text
);

CREATE TABLE destination_minutes (
    destination text NOT NULL,
    minute timestamptz NOT NULL,
    shard smallint NOT NULL,
    attempts integer NOT NULL,
    failures integer NOT NULL,
    CONSTRAINT pk_destination_minutes PRIMARY KEY (destination, minute, shard)
);

ALTER TABLE delivery_attempts ADD probe boolean NOT NULL DEFAULT false;

CREATE INDEX ix_outbox_settled ON outbox (settled_at) WHERE status IN ('delivered', 'discarded')
"""


def upgrade() -> None:
    for statement in UP.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX ix_outbox_settled")
    op.execute("ALTER TABLE delivery_attempts DROP probe")
    op.execute("DROP TABLE destination_minutes, destinations")
