"""Requested erasures of accounts."""

from alembic import op

from servicekit.migrations import online

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("""
        CREATE TABLE IF NOT EXISTS erasures (
            user_id bigint NOT NULL,
            requested_at timestamptz NOT NULL,
            due_at timestamptz NOT NULL,
            begun_at timestamptz,
            erased_at timestamptz,
            CONSTRAINT pk_erasures PRIMARY KEY (user_id)
        )
    """)
    online.add_constraint("erasures", "fk_erasures_user_id_users", "FOREIGN KEY (user_id) REFERENCES users (id)")
    online.create_index("ix_erasures_due_at", "erasures (due_at) WHERE erased_at IS NULL")


def downgrade() -> None:
    op.execute("DROP TABLE erasures")
