"""Users whose personal data was erased, and how far the erasure of those that is under way has come."""

from alembic import op

from servicekit.migrations import online

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run(
        """
        CREATE TABLE IF NOT EXISTS erased_users (
            user_id bigint CONSTRAINT erased_users_pkey PRIMARY KEY,
            requested_at timestamptz NOT NULL DEFAULT now(),
            erased_at timestamptz,
            notifications_until bigint NOT NULL DEFAULT 0,
            webhooks_until uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
        )
        """
    )
    online.create_index("ix_erased_users_erased_at", "erased_users (erased_at)")


def downgrade() -> None:
    op.execute("DROP TABLE erased_users")
